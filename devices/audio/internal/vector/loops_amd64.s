#include "textflag.h"

// SSE, which every amd64 has. Each loop does blocks of eight samples; what is left is the caller's.

// func addBlocks(dst, src []float32, left, right float32)
TEXT ·addBlocks(SB), NOSPLIT, $0-56
	MOVQ     dst_base+0(FP), DI
	MOVQ     dst_len+8(FP), CX
	MOVQ     src_base+24(FP), SI
	MOVSS    left+48(FP), X0
	MOVSS    right+52(FP), X1
	UNPCKLPS X1, X0             // left right
	MOVLHPS  X0, X0             // left right left right
	SUBQ     $8, CX
	JL       addDone

addLoop:
	MOVUPS (SI), X2
	MOVUPS 16(SI), X3
	MOVUPS (DI), X4
	MOVUPS 16(DI), X5
	MULPS  X0, X2
	MULPS  X0, X3
	ADDPS  X2, X4
	ADDPS  X3, X5
	MOVUPS X4, (DI)
	MOVUPS X5, 16(DI)
	ADDQ   $32, SI
	ADDQ   $32, DI
	SUBQ   $8, CX
	JGE    addLoop

addDone:
	RET

// func addMonoBlocks(dst, src []float32, left, right float32)
TEXT ·addMonoBlocks(SB), NOSPLIT, $0-56
	MOVQ     dst_base+0(FP), DI
	MOVQ     dst_len+8(FP), CX
	MOVQ     src_base+24(FP), SI
	MOVSS    left+48(FP), X0
	MOVSS    right+52(FP), X1
	UNPCKLPS X1, X0
	MOVLHPS  X0, X0
	SUBQ     $8, CX
	JL       monoDone

monoLoop:
	MOVUPS   (SI), X2
	MOVAPS   X2, X3
	UNPCKLPS X2, X2    // each sample twice
	UNPCKHPS X3, X3
	MOVUPS   (DI), X4
	MOVUPS   16(DI), X5
	MULPS    X0, X2
	MULPS    X0, X3
	ADDPS    X2, X4
	ADDPS    X3, X5
	MOVUPS   X4, (DI)
	MOVUPS   X5, 16(DI)
	ADDQ     $16, SI
	ADDQ     $32, DI
	SUBQ     $8, CX
	JGE      monoLoop

monoDone:
	RET

// func peakBlocks(src []float32) (left, right float32)
TEXT ·peakBlocks(SB), NOSPLIT, $0-32
	MOVQ    src_base+0(FP), SI
	MOVQ    src_len+8(FP), CX
	PCMPEQL X7, X7
	PSRLL   $1, X7             // all but the sign
	XORPS   X0, X0
	XORPS   X1, X1
	SUBQ    $8, CX
	JL      peakDone

peakLoop:
	MOVUPS (SI), X2
	MOVUPS 16(SI), X3
	ANDPS  X7, X2
	ANDPS  X7, X3
	MAXPS  X2, X0
	MAXPS  X3, X1
	ADDQ   $32, SI
	SUBQ   $8, CX
	JGE    peakLoop

peakDone:
	MAXPS   X1, X0
	MOVHLPS X0, X1
	MAXPS   X1, X0
	MOVSS   X0, left+24(FP)
	SHUFPS  $0x55, X0, X0
	MOVSS   X0, right+28(FP)
	RET

// func energyBlocks(src []float32) (left, right float32)
TEXT ·energyBlocks(SB), NOSPLIT, $0-32
	MOVQ  src_base+0(FP), SI
	MOVQ  src_len+8(FP), CX
	XORPS X0, X0
	XORPS X1, X1
	SUBQ  $8, CX
	JL    energyDone

energyLoop:
	MOVUPS (SI), X2
	MOVUPS 16(SI), X3
	MULPS  X2, X2
	MULPS  X3, X3
	ADDPS  X2, X0
	ADDPS  X3, X1
	ADDQ   $32, SI
	SUBQ   $8, CX
	JGE    energyLoop

energyDone:
	ADDPS   X1, X0
	MOVHLPS X0, X1
	ADDPS   X1, X0
	MOVSS   X0, left+24(FP)
	SHUFPS  $0x55, X0, X0
	MOVSS   X0, right+28(FP)
	RET
