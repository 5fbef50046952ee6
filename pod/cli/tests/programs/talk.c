/*
 * talk: what the tests of rrun's own commands let a container say.
 *
 *   say TEXT [CODE]   TEXT to stdout, without a newline; end with CODE
 *   err TEXT [CODE]   TEXT and a newline to stderr; end with CODE
 *   ask TEXT          TEXT to stdout, without a newline; wait for SIGTERM
 *   copy              stdin to stdout, until its end
 *   show PATH         the file to stdout
 *   owner PATH        "UID GID" of the file and a newline to stdout
 *   env NAME          the variable and a newline to stdout
 *   terminal          "ROWS COLUMNS" of the terminal on stdin once it has a size, "none" without one
 *   write PATH TEXT   TEXT into the file
 *   once PATH TEXT    the first time: TEXT and a newline, end with 1; then: "again" and wait
 *   second PATH       the first time: end with 1; then: with 0
 *   count PORT        one connection after the other: how many bytes came, when all have come
 *   tell PORT TEXT    TEXT and its end to that port of this machine; what comes back to stdout
 *   fill KIB          so much of lines of 64 bytes, then wait
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }

static int copy(int from)
{
	char data[4096];
	ssize_t n;

	while ((n = read(from, data, sizeof data)) > 0)
		if (write(1, data, n) != n)
			return 1;
	return n < 0;
}

static int owner(const char *path)
{
	struct stat file;

	if (stat(path, &file) < 0)
		return puts("none") < 0;
	return printf("%u %u\n", file.st_uid, file.st_gid) < 0;
}

static int terminal(void)
{
	struct winsize size;

	/* the size comes after the start; it is waited for, for at most a minute */
	for (int i = 0; i < 6000; i++) {
		if (ioctl(0, TIOCGWINSZ, &size) < 0)
			return puts("none") < 0;
		if (size.ws_row > 0)
			break;
		usleep(10000);
	}
	return printf("%d %d\n", size.ws_row, size.ws_col) < 0;
}

static _Noreturn void wait_for_end(void)
{
	fflush(stdout);
	for (;;)
		pause();
}

static struct sockaddr_in here(const char *port, in_addr_t address)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	at.sin_addr.s_addr = htonl(address);
	return at;
}

static int count(const char *port)
{
	struct sockaddr_in at = here(port, INADDR_ANY);
	int one = 1, sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char data[4096];

	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(sock, (struct sockaddr *)&at, sizeof at) < 0 || listen(sock, 64) < 0)
		return 1;
	for (;;) {
		int peer = accept(sock, 0, 0);
		long all = 0;
		ssize_t n;

		while ((n = read(peer, data, sizeof data)) > 0)
			all += n;
		dprintf(peer, "%ld bytes\n", all);
		close(peer);
	}
}

static int tell(const char *port, const char *text)
{
	struct sockaddr_in at = here(port, INADDR_LOOPBACK);
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(sock, (struct sockaddr *)&at, sizeof at) < 0)
		return 1;
	if (dprintf(sock, "%s", text) < 0 || shutdown(sock, SHUT_WR) < 0)
		return 1;
	return copy(sock);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "";
	const char *second = argc > 3 ? argv[3] : "";

	signal(SIGTERM, end);
	if (!strcmp(verb, "say"))
		return fputs(first, stdout) < 0 || fflush(stdout) < 0 ? 1 : atoi(second);
	if (!strcmp(verb, "err"))
		return fprintf(stderr, "%s\n", first) < 0 ? 1 : atoi(second);
	if (!strcmp(verb, "ask")) {
		fputs(first, stdout);
		wait_for_end();
	}
	if (!strcmp(verb, "copy"))
		return copy(0);
	if (!strcmp(verb, "show"))
		return copy(open(first, O_RDONLY | O_CLOEXEC));
	if (!strcmp(verb, "owner"))
		return owner(first);
	if (!strcmp(verb, "env"))
		return puts(getenv(first) ? getenv(first) : "") < 0;
	if (!strcmp(verb, "terminal"))
		return terminal();
	if (!strcmp(verb, "write")) {
		FILE *file = fopen(first, "w");
		return !file || fputs(second, file) < 0 || fclose(file) < 0;
	}
	if (!strcmp(verb, "once")) {
		int made = open(first, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (made >= 0)
			return puts(second) < 0 ? 2 : 1;
		puts("again");
		wait_for_end();
	}
	if (!strcmp(verb, "second"))
		return open(first, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) >= 0;
	if (!strcmp(verb, "count"))
		return count(first);
	if (!strcmp(verb, "tell"))
		return tell(first, second);
	if (!strcmp(verb, "fill")) {
		for (long i = 0; i < atol(first) * 16; i++)
			printf("%063ld\n", i);
		wait_for_end();
	}
	fprintf(stderr, "talk: no verb %s\n", verb);
	return 2;
}
