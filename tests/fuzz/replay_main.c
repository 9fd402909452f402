/*
 * replay_main - runs a fuzzer's seeds without a fuzzer.
 *
 * Linked with one tests/fuzz/fuzz_X.c in place of libFuzzer.  Arguments are files and
 * folders; each file is one input.  Says how many ran; exits 0 when none crashed, 2 when
 * there was none to run.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A fuzzer may have it. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static void
die(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void
replay_file(const char *path, size_t size)
{
	/* Exactly as large as the input, so that a sanitizer sees reads behind its end. */
	uint8_t *data = malloc(size > 0 ? size : 1);
	FILE *f = fopen(path, "rb");

	if (data == NULL || f == NULL || fread(data, 1, size, f) != size)
		die(path);
	fclose(f);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static unsigned
replay(const char *path)
{
	struct stat st;
	struct dirent **names;
	unsigned ran = 0;

	if (stat(path, &st) != 0)
		die(path);
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path, (size_t)st.st_size);
		return 1;
	}
	int n = scandir(path, &names, NULL, alphasort);

	if (n < 0)
		die(path);
	for (int i = 0; i < n; i++) {
		char inner[4096];

		if (names[i]->d_name[0] != '.') {
			int len = snprintf(inner, sizeof(inner), "%s/%s", path, names[i]->d_name);

			if (len < 0 || (size_t)len >= sizeof(inner)) {
				errno = ENAMETOOLONG;
				die(path);
			}
			ran += replay(inner);
		}
		free(names[i]);
	}
	free(names);
	return ran;
}

int
main(int argc, char **argv)
{
	unsigned ran = 0;

	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		ran += replay(argv[i]);
	printf("%u inputs\n", ran);
	return ran > 0 ? 0 : 2;
}
