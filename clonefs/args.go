package clonefs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fields splits a line into words as rc(1) does: at blanks, except within single quotes, where two of them stand for one quote.
// A quoted part may stand within a word. A quote that does not end is an error; so is a control character other than a tab.
func Fields(line string) ([]string, error) {
	var (
		words  []string
		word   strings.Builder
		inWord bool
	)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r' && i == len(line)-1:
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c < ' ' || c == 0x7f:
			return nil, fmt.Errorf("control character %#02x", c)
		case c == '\'':
			inWord = true
			for i++; ; i++ {
				if i >= len(line) {
					return nil, errQuote
				}
				if line[i] == '\'' {
					if i+1 == len(line) || line[i+1] != '\'' {
						break
					}
					i++
				} else if line[i] < ' ' && line[i] != '\t' || line[i] == 0x7f {
					return nil, fmt.Errorf("control character %#02x", line[i])
				}
				word.WriteByte(line[i])
			}
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

var errQuote = errors.New("a quote is not closed")

// Quote returns word as [Fields] reads it back: itself, or in single quotes where it holds a blank or a quote or is empty.
func Quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\r'") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", "''") + "'"
}

// shown makes a word that came from outside fit for an error text and a line of log: short and printable.
func shown(word string) string {
	const most = 64
	short := word
	if len(short) > most {
		short = short[:most]
		for len(short) > 0 && !utf8.ValidString(short[len(short)-1:]) && !utf8.RuneStart(short[len(short)-1]) {
			short = short[:len(short)-1]
		}
		short += "..."
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, short)
}

// A pattern is the parsed Args of a [Message].
type pattern []argument

// An argument is one word of a pattern, or an optional group of them.
type argument struct {
	literals []string // the word is one of these; nil: it may be anything
	rest     bool     // it and all that follow, none too
	optional pattern  // a group in brackets, which may be absent; the fields above mean nothing
}

// parsePattern parses Args. What it accepts is written at [Message].
func parsePattern(args string) (pattern, error) {
	words := strings.Fields(strings.NewReplacer("[", " [ ", "]", " ] ").Replace(args))
	p, rest, err := parseGroup(words, false)
	if err == nil && len(rest) > 0 {
		err = errors.New("] without [")
	}
	if err != nil {
		return nil, fmt.Errorf("arguments %q: %w", args, err)
	}
	return p, nil
}

// parseGroup parses words up to their end, or, within brackets, up to the closing one, and returns those after it.
func parseGroup(words []string, inside bool) (p pattern, rest []string, err error) {
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if len(p) > 0 && p[len(p)-1].rest && w != "]" {
			return nil, nil, fmt.Errorf("%s follows what takes the rest", w)
		}
		switch {
		case w == "]":
			if !inside || len(p) == 0 {
				return nil, nil, errors.New("] without a word before it")
			}
			return p, words, nil
		case w == "[":
			var group pattern
			if group, words, err = parseGroup(words, true); err != nil {
				return nil, nil, err
			}
			p = append(p, argument{optional: group})
		case w == "...":
			return nil, nil, errors.New("... without a word before it")
		case strings.HasSuffix(w, "..."):
			p = append(p, argument{rest: true})
		default:
			p = append(p, argument{literals: literals(w)})
		}
	}
	if inside {
		return nil, nil, errors.New("[ without ]")
	}
	return p, nil, nil
}

// literals returns the choices of a word in small letters, nil for one that stands for something.
func literals(word string) []string {
	for _, c := range word {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '|' && c != '-' {
			return nil
		}
	}
	if word[0] < 'a' || word[0] > 'z' {
		return nil
	}
	return strings.Split(word, "|")
}

// match reports whether args fit p. Groups that are absent are tried last.
func (p pattern) match(args []string) bool {
	for i, a := range p {
		switch {
		case a.optional != nil:
			rest := p[i+1:]
			with := append(append(make(pattern, 0, len(a.optional)+len(rest)), a.optional...), rest...)
			return with.match(args) || rest.match(args)
		case a.rest:
			return true
		case len(args) == 0:
			return false
		case a.literals != nil && !slices.Contains(a.literals, args[0]):
			return false
		}
		args = args[1:]
	}
	return len(args) == 0
}
