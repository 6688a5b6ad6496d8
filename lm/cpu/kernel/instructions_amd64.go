package kernel

import "golang.org/x/sys/cpu"

// supported returns the instruction sets that this processor and operating
// system offer, best first.
func supported() []*instructionSet {
	var sets []*instructionSet
	x := cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasBMI2 && x.HasFMA {
		if x.HasAVX512BF16 {
			set := avx512
			set.name = "avx512bf16"
			set.tile[half] = [...]tileFunc{nil, avx512Half1, avx512Half2, avx512Half3, avx512Half4, avx512Half5, avx512Half6}
			set.pairPeak = avx512HalfPeak
			if x.HasAVX512VNNI {
				set.blocks = vnniBlocks
			}
			sets = append(sets, &set)
		}
		sets = append(sets, &avx512)
	}
	// Every processor with AVX2 and FMA has the conversions of halves, F16C.
	if x.HasAVX2 && x.HasFMA && x.HasBMI2 {
		sets = append(sets, &avx2)
	}
	return sets
}

var avx512 = instructionSet{
	name:    "avx512",
	lanes:   16,
	columns: 64,
	tile: [3][tileRows + 1]tileFunc{
		single: {nil, avx512Single1, avx512Single2, avx512Single3, avx512Single4, avx512Single5, avx512Single6},
		mixed:  {nil, avx512Mixed1, avx512Mixed2, avx512Mixed3, avx512Mixed4, avx512Mixed5, avx512Mixed6},
	},
	narrow: [...]narrowFunc{
		nil, avx512Narrow1, avx512Narrow2, avx512Narrow3, avx512Narrow4, avx512Narrow5, avx512Narrow6,
	},
	blocks:       avx2Blocks,
	addScaled:    avx512AddScaled,
	scale:        avx512Scale,
	sum:          avx512Sum,
	squares:      avx512Squares,
	normalize:    avx512Normalize,
	activation:   [...]func(x, up *float32, n int){SiLU: avx512SiLU, GELU: avx512GELU, GELUTanh: avx512GELUTanh, ReLU: avx512ReLU},
	softCap:      avx512SoftCap,
	maximum:      avx512Maximum,
	scaleMaximum: avx512ScaleMaximum,
	expSum:       avx512ExpSum,
	sumExp:       avx512SumExp,
	rope:         avx512Rope,
	roundHalf:    avx512RoundHalf,
	roundSingle:  avx512RoundSingle,
	widen:        [...]func(dst *float32, x *uint16, n int){StoredF16: avx512WidenF16, StoredBF16: avx512WidenBF16},
	transpose:    avx512Transpose,
	multiplyPeak: avx512FMAPeak,
	read:         avx512Read,
}

var avx2 = instructionSet{
	name:    "avx2",
	lanes:   8,
	columns: 16,
	tile: [3][tileRows + 1]tileFunc{
		single: {nil, avx2Single1, avx2Single2, avx2Single3, avx2Single4, avx2Single5, avx2Single6},
		mixed:  {nil, avx2Mixed1, avx2Mixed2, avx2Mixed3, avx2Mixed4, avx2Mixed5, avx2Mixed6},
	},
	panel: [3]tileFunc{single: avx2SinglePanel, mixed: avx2MixedPanel},
	narrow: [...]narrowFunc{
		nil, avx2Narrow1, avx2Narrow2, avx2Narrow3, avx2Narrow4, avx2Narrow5, avx2Narrow6,
	},
	blocks:       avx2Blocks,
	addScaled:    avx2AddScaled,
	scale:        avx2Scale,
	sum:          avx2Sum,
	squares:      avx2Squares,
	normalize:    avx2Normalize,
	activation:   [...]func(x, up *float32, n int){SiLU: avx2SiLU, GELU: avx2GELU, GELUTanh: avx2GELUTanh, ReLU: avx2ReLU},
	softCap:      avx2SoftCap,
	maximum:      avx2Maximum,
	scaleMaximum: avx2ScaleMaximum,
	expSum:       avx2ExpSum,
	sumExp:       avx2SumExp,
	rope:         avx2Rope,
	roundHalf:    avx2RoundHalf,
	roundSingle:  avx2RoundSingle,
	widen:        [...]func(dst *float32, x *uint16, n int){StoredF16: avx2WidenF16, StoredBF16: avx2WidenBF16},
	transpose:    avx2Transpose,
	multiplyPeak: avx2FMAPeak,
	read:         avx2Read,
}

var avx2Blocks = blockKernels{
	integers: avx2Integers,
	row: [storedTypes]rowFunc{
		StoredQ4_0:   avx2RowQ4_0,
		StoredQ4_1:   avx2RowQ4_1,
		StoredQ5_0:   avx2RowQ5_0,
		StoredQ5_1:   avx2RowQ5_1,
		StoredQ8_0:   avx2RowQ8_0,
		StoredQ2_K:   avx2RowQ2_K,
		StoredQ3_K:   avx2RowQ3_K,
		StoredQ4_K:   avx2RowQ4_K,
		StoredQ5_K:   avx2RowQ5_K,
		StoredQ6_K:   avx2RowQ6_K,
		StoredIQ4_NL: avx2RowIQ4_NL,
		StoredMXFP4:  avx2RowMXFP4,
	},
	unpack: [storedTypes]unpackFunc{
		StoredQ4_0:   avx2UnpackQ4_0,
		StoredQ4_1:   avx2UnpackQ4_1,
		StoredQ5_0:   avx2UnpackQ5_0,
		StoredQ5_1:   avx2UnpackQ5_1,
		StoredQ8_0:   avx2UnpackQ8_0,
		StoredQ2_K:   avx2UnpackQ2_K,
		StoredQ3_K:   avx2UnpackQ3_K,
		StoredQ4_K:   avx2UnpackQ4_K,
		StoredQ5_K:   avx2UnpackQ5_K,
		StoredQ6_K:   avx2UnpackQ6_K,
		StoredIQ4_NL: avx2UnpackIQ4_NL,
		StoredMXFP4:  avx2UnpackMXFP4,
	},
	tile:    [...]integerTileFunc{2: avx2Integer2, avx2Integer3, avx2Integer4, avx2Integer5, avx2Integer6},
	units:   1,
	numbers: avx2UnpackedNumbers,
}

var vnniBlocks = blockKernels{
	integers: avx2Integers,
	row: [storedTypes]rowFunc{
		StoredQ4_0:   avx512RowQ4_0,
		StoredQ4_1:   avx512RowQ4_1,
		StoredQ5_0:   avx512RowQ5_0,
		StoredQ5_1:   avx512RowQ5_1,
		StoredQ8_0:   avx512RowQ8_0,
		StoredQ2_K:   avx512RowQ2_K,
		StoredQ3_K:   avx512RowQ3_K,
		StoredQ4_K:   avx512RowQ4_K,
		StoredQ5_K:   avx512RowQ5_K,
		StoredQ6_K:   avx512RowQ6_K,
		StoredIQ4_NL: avx512RowIQ4_NL,
		StoredMXFP4:  avx512RowMXFP4,
	},
	unpack: [storedTypes]unpackFunc{
		StoredQ4_0:   avx512UnpackQ4_0,
		StoredQ4_1:   avx512UnpackQ4_1,
		StoredQ5_0:   avx512UnpackQ5_0,
		StoredQ5_1:   avx512UnpackQ5_1,
		StoredQ8_0:   avx512UnpackQ8_0,
		StoredQ2_K:   avx512UnpackQ2_K,
		StoredQ3_K:   avx512UnpackQ3_K,
		StoredQ4_K:   avx512UnpackQ4_K,
		StoredQ5_K:   avx512UnpackQ5_K,
		StoredQ6_K:   avx512UnpackQ6_K,
		StoredIQ4_NL: avx512UnpackIQ4_NL,
		StoredMXFP4:  avx512UnpackMXFP4,
	},
	tile:    [...]integerTileFunc{2: avx512Integer2, avx512Integer3, avx512Integer4, avx512Integer5, avx512Integer6},
	units:   4,
	numbers: avx512UnpackedNumbers,
}
