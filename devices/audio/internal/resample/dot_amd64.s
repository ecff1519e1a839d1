#include "textflag.h"

// SSE, which every amd64 has. An addition takes four cycles, and two may begin in one: four sums run side by side.

// func dotMono(h, x []float32) float32
TEXT ·dotMono(SB), NOSPLIT, $0-52
	MOVQ  h_base+0(FP), SI
	MOVQ  h_len+8(FP), CX
	MOVQ  x_base+24(FP), DI
	XORPS X0, X0
	XORPS X1, X1
	SUBQ  $8, CX
	JL    monoDone

monoLoop:
	MOVUPS (SI), X2
	MOVUPS 16(SI), X3
	MOVUPS (DI), X4
	MOVUPS 16(DI), X5
	MULPS  X4, X2
	MULPS  X5, X3
	ADDPS  X2, X0
	ADDPS  X3, X1
	ADDQ   $32, SI
	ADDQ   $32, DI
	SUBQ   $8, CX
	JGE    monoLoop

monoDone:
	ADDPS   X1, X0
	MOVHLPS X0, X1
	ADDPS   X1, X0
	MOVAPS  X0, X1
	SHUFPS  $0x55, X1, X1
	ADDSS   X1, X0
	MOVSS   X0, ret+48(FP)
	RET

// func dotStereo(h, x []float32) (left, right float32)
TEXT ·dotStereo(SB), NOSPLIT, $0-56
	MOVQ  h_base+0(FP), SI
	MOVQ  h_len+8(FP), CX
	MOVQ  x_base+24(FP), DI
	XORPS X0, X0
	XORPS X1, X1
	XORPS X2, X2
	XORPS X3, X3
	SUBQ  $8, CX
	JL    stereoDone

stereoLoop:
	// Each coefficient stands twice, for left and right.
	MOVUPS   (SI), X4
	MOVUPS   16(SI), X6
	MOVAPS   X4, X5
	MOVAPS   X6, X7
	UNPCKLPS X4, X4
	UNPCKHPS X5, X5
	UNPCKLPS X6, X6
	UNPCKHPS X7, X7
	MOVUPS   (DI), X8
	MOVUPS   16(DI), X9
	MOVUPS   32(DI), X10
	MOVUPS   48(DI), X11
	MULPS    X8, X4
	MULPS    X9, X5
	MULPS    X10, X6
	MULPS    X11, X7
	ADDPS    X4, X0
	ADDPS    X5, X1
	ADDPS    X6, X2
	ADDPS    X7, X3
	ADDQ     $32, SI
	ADDQ     $64, DI
	SUBQ     $8, CX
	JGE      stereoLoop

stereoDone:
	ADDPS   X1, X0
	ADDPS   X3, X2
	ADDPS   X2, X0
	MOVHLPS X0, X1
	ADDPS   X1, X0
	MOVSS   X0, left+48(FP)
	SHUFPS  $0x55, X0, X0
	MOVSS   X0, right+52(FP)
	RET
