#include "textflag.h"

// func decodeS16Blocks(dst []float32, src []byte)
TEXT ·decodeS16Blocks(SB), NOSPLIT, $0-48
	MOVQ   dst_base+0(FP), DI
	MOVQ   dst_len+8(FP), CX
	MOVQ   src_base+24(FP), SI
	MOVL   $0x38000000, AX      // 1.0/(1<<15)
	MOVL   AX, X7
	SHUFPS $0, X7, X7
	SUBQ   $8, CX
	JL     done

loop:
	MOVUPS    (SI), X0
	MOVAPS    X0, X1
	PUNPCKLWL X0, X0            // each number twice, of which the upper is
	PUNPCKHWL X1, X1
	PSRAL     $16, X0           // moved down with its sign
	PSRAL     $16, X1
	CVTPL2PS  X0, X0
	CVTPL2PS  X1, X1
	MULPS     X7, X0
	MULPS     X7, X1
	MOVUPS    X0, (DI)
	MOVUPS    X1, 16(DI)
	ADDQ      $16, SI
	ADDQ      $32, DI
	SUBQ      $8, CX
	JGE       loop

done:
	RET
