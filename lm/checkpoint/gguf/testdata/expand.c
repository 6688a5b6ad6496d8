// Expands blocks through llama.cpp's own library, to hold ours against. With
// libggml-base.so of the npm package @node-llama-cpp/linux-x64 in DIR:
//
//   gcc expand.c DIR/libggml-base.so -Wl,-rpath,DIR -o expand
//   for t in q4_0 …; do ./expand $t < $t.blocks > $t.floats; done
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TYPES(X) \
	X(q4_0, 32, 18) X(q4_1, 32, 20) X(q5_0, 32, 22) X(q5_1, 32, 24) X(q8_0, 32, 34) \
	X(q2_K, 256, 84) X(q3_K, 256, 110) X(q4_K, 256, 144) X(q5_K, 256, 176) X(q6_K, 256, 210)

#define DECLARE(name, elements, bytes) void dequantize_row_##name(const void *, float *, int64_t);
TYPES(DECLARE)

int main(int argc, char **argv) {
	static uint8_t blocks[1 << 20];
	static float floats[1 << 20];
	size_t n = fread(blocks, 1, sizeof blocks, stdin);
#define EXPAND(name, elements, bytes) \
	if (argc == 2 && !strcmp(argv[1], #name)) { \
		size_t count = n / bytes * elements; \
		dequantize_row_##name(blocks, floats, count); \
		return fwrite(floats, 4, count, stdout) != count; \
	}
	TYPES(EXPAND)
	return 2;
}
