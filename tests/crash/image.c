/*
 * image - see image.h.
 *
 * A sector that an end loses stays lost: whatever later call touches it goes with it, since a page
 * is written back whole.  That keeps impossible disks out, such as the second half of a sector
 * without the first.
 */
#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

const char *const end_names[ENDS] = {
	"lost", "kept", "some", "torn", "one lost", "one kept", "killed",
};

uint64_t
image_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static bool
chance(uint64_t *state, unsigned percent)
{
	return image_random(state) % 100 < percent;
}

static void *
grow(void *list, size_t *cap, size_t need, size_t size)
{
	if (need <= *cap)
		return list;
	*cap = need < 16 ? 16 : need + need / 2;
	list = realloc(list, *cap * size);
	if (list == NULL)
		die("no memory");
	return list;
}

/* --- octets --------------------------------------------------------------- */

static void
set_len(struct octets *o, size_t len)
{
	if (len > o->len && o->data != NULL) {
		o->data = grow(o->data, &o->cap, len, 1);
		memset(o->data + o->len, 0, len - o->len);
	}
	o->len = len;
}

/* Something else than zeros comes. */
static void
want_data(struct octets *o)
{
	if (o->data != NULL || o->len == 0)
		return;
	o->data = calloc(1, o->len);
	o->cap = o->len;
	if (o->data == NULL)
		die("no memory");
}

static struct octets
copy_of(const struct octets *o)
{
	struct octets copy = { .len = o->len };

	if (o->data == NULL || o->len == 0)
		return copy;
	copy.data = malloc(o->len);
	copy.cap = o->len;
	if (copy.data == NULL)
		die("no memory");
	memcpy(copy.data, o->data, o->len);
	return copy;
}

static void
apply_to(struct octets *o, const struct op *op)
{
	size_t end = op->offset + op->len;

	switch (op->kind) {
	case OP_WRITE:
		if (end > o->len)
			set_len(o, end);
		want_data(o);
		memcpy(o->data + op->offset, op->data, op->len);
		break;
	case OP_TRUNCATE:
		set_len(o, op->len);
		break;
	case OP_EXTEND:
		if (end > o->len)
			set_len(o, end);
		break;
	case OP_PUNCH:
		if (end > o->len)
			end = o->len;
		if (op->offset < end && o->data != NULL)
			memset(o->data + op->offset, 0, end - op->offset);
		break;
	default:
		break;
	}
}

/* --- names ---------------------------------------------------------------- */

static size_t
find_name(const struct names *names, enum folder folder, const char *name)
{
	size_t i;

	for (i = 0; i < names->n; i++)
		if (names->list[i].folder == folder && strcmp(names->list[i].name, name) == 0)
			break;
	return i;
}

static void
drop_name(struct names *names, enum folder folder, const char *name)
{
	size_t i = find_name(names, folder, name);

	if (i < names->n)
		names->list[i] = names->list[--names->n];
}

static void
add_name(struct names *names, enum folder folder, const char *name, uint32_t file)
{
	drop_name(names, folder, name);
	names->list = grow(names->list, &names->cap, names->n + 1, sizeof(*names->list));
	names->list[names->n] = (struct image_name) { .folder = folder, .file = file };
	snprintf(names->list[names->n++].name, TRACE_NAME_MAX, "%s", name);
}

static void
name_to(struct names *names, const struct op *op)
{
	size_t i;

	switch (op->kind) {
	case OP_CREATE:
	case OP_LINK:
		add_name(names, op->folder, op->name, op->file);
		break;
	case OP_UNLINK:
		drop_name(names, op->folder, op->name);
		break;
	case OP_RENAME:
		i = find_name(names, op->folder, op->name);
		if (i < names->n) {
			uint32_t file = names->list[i].file;

			drop_name(names, op->folder, op->name);
			add_name(names, op->folder, op->to, file);
		}
		break;
	default:
		break;
	}
}

/* --- what is noted -------------------------------------------------------- */

static struct image_file *
file_of(struct image *im, uint32_t file)
{
	while (im->nfiles <= file) {
		im->files = grow(im->files, &im->cap, im->nfiles + 1, sizeof(*im->files));
		memset(&im->files[im->nfiles++], 0, sizeof(*im->files));
	}
	return &im->files[file];
}

static void
load_file(struct image *im, int dir, enum folder folder, const char *name)
{
	uint32_t number = (uint32_t)im->nfiles;
	struct image_file *f;
	struct stat st;
	int fd;

	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		die("%s: %s", name, strerror(errno));
	if (S_ISREG(st.st_mode)) {
		f = file_of(im, number);
		set_len(&f->sure, (size_t)st.st_size);
		if (st.st_blocks > 0)
			want_data(&f->sure);
		if (st.st_blocks > 0 && read(fd, f->sure.data, f->sure.len) != st.st_size)
			die("%s: %s", name, strerror(errno));
		f->cache = copy_of(&f->sure);
		add_name(&im->sure, folder, name, number);
		add_name(&im->cache, folder, name, number);
	}
	close(fd);
}

void
image_load(struct image *im, const char *dir)
{
	char path[600];

	memset(im, 0, sizeof(*im));
	for (int i = 0; i < FOLDERS; i++) {
		const struct dirent *entry;
		DIR *d;

		snprintf(path, sizeof(path), "%s/%s", dir, folder_names[i]);
		d = opendir(path);
		if (d == NULL)
			die("%s: %s", path, strerror(errno));
		/* The shared memory of SQLite is nobody's. */
		while ((entry = readdir(d)) != NULL)
			if (entry->d_name[0] != '.' && strstr(entry->d_name, "-shm") == NULL)
				load_file(im, dirfd(d), (enum folder)i, entry->d_name);
		closedir(d);
	}
}

void
image_release(struct image *im)
{
	for (size_t i = 0; i < im->nfiles; i++) {
		free(im->files[i].sure.data);
		free(im->files[i].cache.data);
		free(im->files[i].pending);
	}
	free(im->files);
	free(im->sure.list);
	free(im->cache.list);
	free(im->pending);
}

static void
sync_folder(struct image *im, enum folder folder)
{
	size_t kept = 0;

	for (size_t i = 0; i < im->npending; i++)
		if (im->pending[i]->folder == folder)
			name_to(&im->sure, im->pending[i]);
		else
			im->pending[kept++] = im->pending[i];
	im->npending = kept;
}

static void write_torn(const struct image *im, const struct image_file *f, unsigned keep,
    struct octets *o, uint64_t *random);
/* Of a hundred calls, those that are kept whole though their sync failed. */
#define KEPT_OF_FAILED 20

static void
sync_file(struct image *im, struct image_file *f, bool failed)
{
	if (failed)
		write_torn(im, f, KEPT_OF_FAILED, &f->sure, &im->random);
	else
		for (size_t i = 0; i < f->npending; i++)
			apply_to(&f->sure, f->pending[i]);
	f->npending = 0;
}

void
image_apply(struct image *im, const struct op *op)
{
	struct image_file *f;

	switch (op->kind) {
	case OP_CREATE:
	case OP_LINK:
		file_of(im, op->file);
		/* FALLTHROUGH */
	case OP_UNLINK:
	case OP_RENAME:
		name_to(&im->cache, op);
		im->pending =
		    grow(im->pending, &im->pending_cap, im->npending + 1, sizeof(*im->pending));
		im->pending[im->npending++] = op;
		break;
	case OP_WRITE:
	case OP_TRUNCATE:
	case OP_EXTEND:
	case OP_PUNCH:
		f = file_of(im, op->file);
		apply_to(&f->cache, op);
		f->pending = grow(f->pending, &f->cap, f->npending + 1, sizeof(*f->pending));
		f->pending[f->npending++] = op;
		break;
	case OP_SYNC:
	case OP_SYNC_FAILED:
		sync_file(im, file_of(im, op->file), op->kind == OP_SYNC_FAILED);
		break;
	case OP_SYNC_FOLDER:
		sync_folder(im, op->folder);
		break;
	case OP_UNNAMED:
		file_of(im, op->file);
		break;
	default:
		break;
	}
}

bool
image_pending(const struct image *im)
{
	for (size_t i = 0; i < im->nfiles; i++)
		if (im->files[i].npending > 0)
			return true;
	return im->npending > 0;
}

bool
image_find(void *image, enum folder folder, const char *name, uint32_t *file_r)
{
	const struct image *im = image;
	size_t i = find_name(&im->cache, folder, name);

	if (i == im->cache.n)
		return false;
	*file_r = im->cache.list[i].file;
	return true;
}

/* --- ends ----------------------------------------------------------------- */

/* Octets that lay on the disk before: some other file's. */
static void
fill_recycled(const struct image *im, struct octets *o, size_t at, size_t len, uint64_t *random)
{
	const struct octets *from = &im->files[image_random(random) % im->nfiles].cache;

	for (size_t i = at; from->data != NULL && i < at + len && i < from->len; i++)
		o->data[i] = from->data[i];
}

/* What comes of one call: all of it, none, or each sector by itself. */
enum fate { FATE_KEPT, FATE_LOST, FATE_TORN };

static void
tear_write(const struct image *im, struct octets *o, const struct op *op, enum fate fate,
    uint8_t *frozen, uint64_t *random)
{
	size_t end = op->offset + op->len, old = o->len;
	bool recycled = chance(random, 20);

	if (end > o->len && (fate != FATE_LOST || chance(random, 30)))
		set_len(o, end);
	want_data(o);
	for (size_t s = op->offset / SECTOR; s * SECTOR < end; s++) {
		size_t from = s * SECTOR > op->offset ? s * SECTOR : op->offset;
		size_t to = (s + 1) * SECTOR < end ? (s + 1) * SECTOR : end;

		if (frozen[s] == 0 &&
		    (fate == FATE_LOST || (fate == FATE_TORN && chance(random, 40)))) {
			frozen[s] = 1;
			/* Never written, but the length says that it is there.  A file begins with
			 * zeros: what it has of others' octets comes later, as it grows. */
			if (recycled && old > 0 && s * SECTOR >= old && to <= o->len)
				fill_recycled(im, o, from, to - from, random);
		}
		if (frozen[s] == 0 && to <= o->len)
			memcpy(o->data + from, op->data + (from - op->offset), to - from);
	}
}

static void
write_torn(const struct image *im, const struct image_file *f, unsigned keep, struct octets *o,
    uint64_t *random)
{
	size_t most = o->len;
	uint8_t *frozen;

	for (size_t i = 0; i < f->npending; i++)
		if (f->pending[i]->offset + f->pending[i]->len > most)
			most = f->pending[i]->offset + f->pending[i]->len;
	frozen = calloc(1, most / SECTOR + 2);
	if (frozen == NULL)
		die("no memory");
	for (size_t i = 0; i < f->npending; i++) {
		const struct op *op = f->pending[i];
		enum fate fate = chance(random, keep) ? FATE_KEPT
				 : chance(random, 50) ? FATE_TORN
						      : FATE_LOST;

		if (op->kind == OP_WRITE) {
			tear_write(im, o, op, fate, frozen, random);
		} else if (fate == FATE_KEPT) {
			apply_to(o, op);
			/* What was cut off is written anew if it is written again. */
			if (op->kind == OP_TRUNCATE && op->len < most)
				memset(frozen + op->len / SECTOR, 0,
				    most / SECTOR + 2 - op->len / SECTOR);
		}
	}
	free(frozen);
}

static void
write_octets(const char *path, const struct octets *o)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	if (o->data == NULL && ftruncate(fd, (off_t)o->len) == 0)
		done = o->len;
	while (done < o->len) {
		ssize_t n = write(fd, o->data + done, o->len - done);

		if (n <= 0)
			die("%s: %s", path, strerror(errno));
		done += (size_t)n;
	}
	close(fd);
}

static void
empty_folders(const char *dir)
{
	char path[600];

	for (int i = 0; i < FOLDERS; i++) {
		const struct dirent *entry;
		DIR *d;

		snprintf(path, sizeof(path), "%s/%s", dir, folder_names[i]);
		d = opendir(path);
		if (d == NULL)
			die("%s: %s", path, strerror(errno));
		while ((entry = readdir(d)) != NULL)
			if (entry->d_type == DT_REG)
				unlinkat(dirfd(d), entry->d_name, 0);
		closedir(d);
	}
}

/* How a file, or a folder, comes off. */
static enum end
end_of_part(enum end end, bool chosen, uint64_t *random)
{
	switch (end) {
	case END_SOME:
		return chance(random, 50) ? END_LOST : END_KEPT;
	case END_ONE_LOST:
		return chosen ? END_LOST : END_KEPT;
	case END_ONE_KEPT:
		return chosen ? END_KEPT : END_LOST;
	default:
		return end;
	}
}

static struct names
names_at_end(const struct image *im, enum end end, size_t chosen, uint64_t *random)
{
	struct names names = { 0 };
	enum end ends[FOLDERS];

	for (size_t i = 0; i < im->sure.n; i++)
		add_name(&names, im->sure.list[i].folder, im->sure.list[i].name,
		    im->sure.list[i].file);
	for (int i = 0; i < FOLDERS; i++)
		ends[i] = end_of_part(end, chosen == im->nfiles + (size_t)i, random);
	for (size_t i = 0; i < im->npending; i++) {
		enum end e = ends[im->pending[i]->folder];

		if (e == END_KEPT || (e == END_TORN && chance(random, 50)))
			name_to(&names, im->pending[i]);
	}
	return names;
}

/* One of the files, or beyond them the folders, that are not sure. */
static size_t
choose(const struct image *im, uint64_t *random)
{
	size_t n = 0, chosen = 0;

	for (size_t i = 0; i < im->nfiles; i++)
		if (im->files[i].npending > 0 && image_random(random) % ++n == 0)
			chosen = i;
	if (im->npending > 0 && image_random(random) % ++n == 0)
		chosen = im->nfiles + im->pending[0]->folder;
	return chosen;
}

static void
write_file(const struct image *im, const struct image_file *f, enum end end, const char *path,
    uint64_t *random)
{
	static const unsigned keeps[] = { 5, 30, 50, 80, 97 };
	struct octets left;

	if (end == END_KILLED || end == END_KEPT || f->npending == 0) {
		/* Kept is not quite the page cache: a failed sync may have lost some. */
		if (end == END_KILLED) {
			write_octets(path, &f->cache);
			return;
		}
		if (f->npending == 0) {
			write_octets(path, &f->sure);
			return;
		}
	}
	left = copy_of(&f->sure);
	if (end == END_KEPT)
		for (size_t i = 0; i < f->npending; i++)
			apply_to(&left, f->pending[i]);
	else if (end == END_TORN)
		write_torn(im, f, keeps[image_random(random) % 5], &left, random);
	write_octets(path, &left);
	free(left.data);
}

/* SQLite's shared memory, which nobody syncs: not there, or anything. */
static void
write_shared_memory(const char *dir, uint64_t *random)
{
	static const char *const paths[] = { "index/index.db-shm", "secrets/secrets.db-shm" };
	uint64_t noise[4096];
	char path[600];

	for (int i = 0; i < 2; i++) {
		struct octets o = { (uint8_t *)noise, sizeof(noise), 0 };

		if (chance(random, 50))
			continue;
		for (size_t k = 0; k < sizeof(noise) / sizeof(*noise); k++)
			noise[k] = image_random(random);
		snprintf(path, sizeof(path), "%s/%s", dir, paths[i]);
		write_octets(path, &o);
	}
}

void
image_write(const struct image *im, enum end end, uint64_t random, const char *dir)
{
	size_t chosen = choose(im, &random);
	struct names names = end == END_KILLED ? im->cache : names_at_end(im, end, chosen, &random);
	enum end *ends = calloc(im->nfiles + 1, sizeof(*ends));
	char path[600];

	if (ends == NULL)
		die("no memory");
	for (size_t i = 0; i < im->nfiles; i++)
		ends[i] = end_of_part(end, i == chosen, &random);
	empty_folders(dir);
	for (size_t i = 0; i < names.n; i++) {
		const struct image_name *name = &names.list[i];

		snprintf(path, sizeof(path), "%s/%s/%s", dir, folder_names[name->folder],
		    name->name);
		write_file(im, &im->files[name->file], ends[name->file], path, &random);
	}
	write_shared_memory(dir, &random);
	if (end != END_KILLED)
		free(names.list);
	free(ends);
}
