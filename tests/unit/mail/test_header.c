/*
 * header: fields and the end of the header, whole, octet by octet and cut at
 * every place.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mail/header.h"

#define NONE UINT64_MAX

/* clang-format off */
static const struct {
	const char *in;
	unsigned received;
	uint64_t body;
} rows[] = {
	{ "", 0, NONE },
	{ "\r\n", 0, 2 },
	{ "\r\nReceived: x\r\n", 0, 2 },
	{ "\r\n\r\n", 0, 2 },
	{ "A: b\r\n", 0, NONE },
	{ "A: b", 0, NONE },
	{ "A: b\r\n\r\n", 0, 8 },
	{ "A: b\r\n\r\nbody\r\n\r\n", 0, 8 },
	{ "A: b\r\n \r\n\r\n", 0, 11 },
	{ "A: b\r\n\rX\r\n\r\n", 0, 12 },
	{ "A: b\r\n\r\r\n\r\n", 0, 11 },
	{ "A: b\r\r\n\r\n", 0, 9 },
	{ "no header at all\r\n", 0, NONE },
	{ "Received: x\r\n\r\n", 1, 15 },
	{ "Received:\r\n\r\n", 1, 13 },
	{ "rECEIVED: x\r\n", 1, NONE },
	{ "RECEIVED:x\r\nreceived:x\r\nA: b\r\nReceived: x\r\n\r\nReceived: no\r\n", 3, 45 },
	{ "Received \t : x\r\n", 1, NONE },
	{ "Received", 0, NONE },
	{ "Received\r\n\r\n", 0, 12 },
	{ "Received \r\n : x\r\n\r\n", 0, 19 },
	{ "Received x: y\r\n", 0, NONE },
	{ "Received-SPF: pass\r\n", 0, NONE },
	{ "X-Received: x\r\n", 0, NONE },
	{ "Receive: x\r\n", 0, NONE },
	{ "Keywords: x\r\n", 0, NONE },
	{ "Receivedd: x\r\n", 0, NONE },
	{ "Recreceived: x\r\n", 0, NONE },
	{ " Received: x\r\n", 0, NONE },
	{ "A: b\r\n\tReceived: x\r\n Received: y\r\nReceived: z\r\n\r\n", 1, 49 },
	{ "A: b Received: x\r\n", 0, NONE },
	{ "A: b\rReceived: x\r\n", 0, NONE },
	{ "\rReceived: x\r\n", 0, NONE },
	{ "..Received: x\r\n\r\n", 0, 17 },
	{ "Received: x\r\n by y\r\n\r\n", 1, 22 },
};
/* clang-format on */

static void
check_cut(const char *in, size_t len, size_t first, size_t step, unsigned want, uint64_t body)
{
	struct header_scan h;
	size_t n = first;
	char *copy;

	header_scan_init(&h);
	for (size_t at = 0; at < len; at += n, n = step) {
		if (n > len - at)
			n = len - at;
		/* Memory of just that size, so that a sanitizer sees a look beyond it. */
		copy = malloc(n + (n == 0));
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, in + at, n);
		header_scan(&h, copy, n);
		free(copy);
		ck_assert_uint_eq(h.offset, at + n);
	}
	ck_assert_msg(h.received == want, "%u of %u in %s", h.received, want, in);
	ck_assert_msg(h.ended == (body != NONE), "end of %s", in);
	if (h.ended)
		ck_assert_msg(h.body == body, "body at %zu in %s", (size_t)h.body, in);
}

START_TEST(row)
{
	const char *in = rows[_i].in;
	size_t len = strlen(in);

	for (size_t first = 0; first <= len; first++)
		check_cut(in, len, first, len, rows[_i].received, rows[_i].body);
	check_cut(in, len, 1, 1, rows[_i].received, rows[_i].body);
}
END_TEST

/* A NUL is an octet as any other. */
START_TEST(nul)
{
	static const char in[] = "A\0: b\r\n\0\r\nReceived\0: x\r\n\r\n";

	for (size_t first = 0; first < sizeof(in); first++)
		check_cut(in, sizeof(in) - 1, first, sizeof(in), 0, sizeof(in) - 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("header");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, row, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(all, nul);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
