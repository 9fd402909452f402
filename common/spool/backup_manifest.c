/*
 * backup_manifest - what makes files in a folder a backup.
 *
 *     restante-backup 1
 *     version 0.1.0
 *     time 2026-11-26T02:00:00Z 1795658400123
 *     spool 4d1c0a6be0b1f7aa
 *     newest 1795658399870
 *     index index-1795658400123.db SIZE CRC
 *     secrets secrets-1795658400123.db SIZE CRC
 *     messages COUNT OCTETS DAMAGED
 *     segment NUMBER MESSAGES OCTETS          for each
 *     end CRC
 *
 * Lines end in LF; numbers are decimal, checksums CRC-32C in hexadecimal, the last one of all that
 * stands before it.  It is written under another name, synced and renamed, when the names of all that it
 * names are on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup_internal.h"
#include "base/crc32c.h"
#include "base/num.h"
#include "base/version.h"

#define NEW_NAME BACKUP_MANIFEST ".new"
#define FORMAT 1
#define LINE_MAX_LEN 512
/* Hundreds of thousands of segments; nothing is kept of most of it. */
#define TEXT_MAX (UINT64_C(64) << 20)

static void
add_segments(struct strbuf *text, const struct backup_list *list)
{
	for (size_t i = 0, n; i < list->n; i += n) {
		uint64_t blocks = 0;

		n = backup_list_segment(list, i);
		for (size_t k = i; k < i + n; k++)
			blocks += list->list[k].blocks;
		strbuf_addf(text, "segment %" PRIu64 " %zu %" PRIu64 "\n",
		    message_segment(list->list[i].message), n, blocks * RECORD_BLOCK);
	}
}

static void
compose(struct strbuf *text, const struct backup_manifest *m, const struct backup_list *list)
{
	char time[NUM_TEXT_MAX];

	strbuf_addf(text,
	    "restante-backup %d\nversion %s\ntime %s %" PRIu64 "\nspool %016" PRIx64
	    "\nnewest %" PRIu64 "\n",
	    FORMAT, RESTANTE_VERSION, num_format_time(time, m->time_ms / 1000), m->time_ms,
	    m->spool, m->newest);
	strbuf_addf(text, "index %s %" PRIu64 " %08" PRIx32 "\n", m->index.name, m->index.size,
	    m->index.crc);
	strbuf_addf(text, "secrets %s %" PRIu64 " %08" PRIx32 "\n", m->secrets.name,
	    m->secrets.size, m->secrets.crc);
	strbuf_addf(text, "messages %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", m->messages, m->octets,
	    m->damaged);
	add_segments(text, list);
	strbuf_addf(text, "end %08" PRIx32 "\n", crc32c(0, text->buf, text->len));
}

enum spool_status
backup_manifest_write(const struct disk_ops *disk, const char *dir, int fd,
    const struct backup_manifest *m, const struct backup_list *list, struct strbuf *err)
{
	enum spool_status st = SPOOL_OK;
	struct strbuf text;
	int file = -1;

	strbuf_init(&text, TEXT_MAX);
	compose(&text, m, list);
	/* The names of what it names, too, are on disk before it has its own. */
	if (text.failed)
		st = SPOOL_NO_MEMORY;
	else if (disk_unlink(disk, fd, NEW_NAME) != 0 ||
		 (file = disk_open(disk, fd, NEW_NAME, true)) < 0 ||
		 disk_write_buf(disk, file, text.buf, text.len, 0) != 0 ||
		 disk_sync(disk, file) != 0 || disk_sync(disk, fd) != 0 ||
		 disk_rename(disk, fd, NEW_NAME, BACKUP_MANIFEST) != 0 || disk_sync(disk, fd) != 0)
		st = backup_failed(err, dir, BACKUP_MANIFEST);
	if (file >= 0)
		close(file);
	strbuf_release(&text);
	return st;
}

static bool
read_file_line(const char *line, const char *word, const char *prefix, struct backup_file *f)
{
	char fmt[32], name[BACKUP_NAME_MAX];
	int end = 0;

	snprintf(fmt, sizeof(fmt), "%s %%47[a-z0-9.-] %%" SCNu64 " %%" SCNx32 "%%n", word);
	/* Of the words that compose() writes, each its own format. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (sscanf(line, fmt, name, &f->size, &f->crc, &end) != 3 || line[end] != '\n')
		return false;
#pragma GCC diagnostic pop
	/* Only a name that we give; never one elsewhere. */
	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	memcpy(f->name, name, sizeof(name));
	return true;
}

/* The lines in their order; true for what is right there. */
static bool
read_line(unsigned number, const char *line, struct backup_manifest *m)
{
	char text[NUM_TEXT_MAX];

	switch (number) {
	case 1:
		return strncmp(line, "version ", 8) == 0;
	case 2:
		return sscanf(line, "time %31s %" SCNu64, text, &m->time_ms) == 2;
	case 3:
		return sscanf(line, "spool %" SCNx64, &m->spool) == 1;
	case 4:
		return sscanf(line, "newest %" SCNu64, &m->newest) == 1;
	case 5:
		return read_file_line(line, "index", BACKUP_INDEX, &m->index);
	case 6:
		return read_file_line(line, "secrets", BACKUP_SECRETS, &m->secrets);
	case 7:
		return sscanf(line, "messages %" SCNu64 " %" SCNu64 " %" SCNu64, &m->messages,
			   &m->octets, &m->damaged) == 3;
	default:
		return strncmp(line, "segment ", 8) == 0;
	}
}

static enum spool_status
parse(FILE *file, struct backup_manifest *m)
{
	char line[LINE_MAX_LEN];
	unsigned number = 0, format;
	uint32_t crc = 0, said;

	for (; fgets(line, sizeof(line), file) != NULL; number++) {
		size_t len = strlen(line);

		if (len == 0 || line[len - 1] != '\n')
			return SPOOL_DAMAGED;
		if (number == 0) {
			if (sscanf(line, "restante-backup %u", &format) != 1)
				return SPOOL_DAMAGED;
			if (format != FORMAT)
				return SPOOL_VERSION;
		} else if (sscanf(line, "end %" SCNx32, &said) == 1) {
			return number >= 8 && said == crc && fgetc(file) == EOF ? SPOOL_OK
			                                                        : SPOOL_DAMAGED;
		} else if (!read_line(number, line, m)) {
			return SPOOL_DAMAGED;
		}
		crc = crc32c(crc, line, len);
	}
	return ferror(file) ? SPOOL_IO : SPOOL_DAMAGED;
}

enum spool_status
backup_manifest_read(const char *dir, int fd, struct backup_manifest *m, struct strbuf *err)
{
	int file = openat(fd, BACKUP_MANIFEST, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *stream = file < 0 ? NULL : fdopen(file, "r");
	enum spool_status st;

	*m = (struct backup_manifest){ 0 };
	if (stream == NULL) {
		if (file < 0 && errno == ENOENT)
			return SPOOL_NO_MESSAGE;
		st = backup_failed(err, dir, BACKUP_MANIFEST);
		if (file >= 0)
			close(file);
		return st;
	}
	st = parse(stream, m);
	if (st == SPOOL_VERSION)
		strbuf_addf(err, "%s: made by a newer Restante: install that", dir);
	else if (st == SPOOL_DAMAGED)
		strbuf_addf(err, "%s: its manifest is damaged", dir);
	else if (st != SPOOL_OK)
		backup_failed(err, dir, BACKUP_MANIFEST);
	fclose(stream);
	return st;
}
