/*
 * reads: what programs do with the files of their image.
 *
 *   walk PATH      looks at all files below it
 *   all PATH       reads all of them
 *   import LIST    reads those that the list has, a path a line, each as an interpreter does a module:
 *                  what it may be called as well is looked for first
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char buffer[256 << 10];

static int read_file(const char *path) {
    struct stat found;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &found)) return perror(path), 1;
    ssize_t count;
    while ((count = read(file, buffer, sizeof buffer)) > 0) {}
    close(file);
    return count < 0 ? perror(path), 1 : 0;
}

static int look(const char *path, const struct stat *found, int kind, struct FTW *at) {
    (void)path, (void)found, (void)at;
    return kind == FTW_DNR || kind == FTW_NS;
}

static int read_one(const char *path, const struct stat *found, int kind, struct FTW *at) {
    (void)at;
    return kind == FTW_F && S_ISREG(found->st_mode) ? read_file(path) : look(path, found, kind, at);
}

static int import(const char *list) {
    static const char *const others[] = {".cpython.so", ".abi3.so", ".pyc", "/__init__.py"};
    char line[4096], other[4200];
    FILE *lines = fopen(list, "r");
    if (!lines) return perror(list), 1;
    while (fgets(line, sizeof line, lines)) {
        struct stat found;
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            snprintf(other, sizeof other, "%s%s", line, others[i]);
            if (!stat(other, &found)) return 1;
        }
        if (read_file(line)) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    if (!strcmp(argv[1], "walk")) return nftw(argv[2], look, 64, FTW_PHYS);
    if (!strcmp(argv[1], "all")) return nftw(argv[2], read_one, 64, FTW_PHYS);
    return strcmp(argv[1], "import") ? 2 : import(argv[2]);
}
