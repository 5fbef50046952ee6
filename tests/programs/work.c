/*
 * work: the workloads of our own tests, in one static program without start-up cost.
 * The verb is the name it is called by, or else its first argument:
 *
 *   sleeper                 wait; end with 0 at once on SIGTERM or SIGINT, reap children
 *   stubborn                wait; ignore SIGTERM
 *   true | exit CODE        end
 *   crash                   end by SIGSEGV (a fault: no signal that init sends itself would end it)
 *   env NAME                print the variable
 *   lines COUNT SIZE        COUNT lines of SIZE bytes with the newline, one write(2) each, to stdout
 *   blocks COUNT SIZE       COUNT writes of SIZE bytes, a newline at each one's end
 *   numbers RATE [COUNT]    "o<n>" to stdout and "e<n>" to stderr, RATE lines a second each, padded to 100 bytes
 *   burn                    use one CPU
 *   hold MIB                touch that much memory, then wait as sleeper
 *   outlive MIB CODE        a child holds that much; when it has ended, end with CODE
 *   write PATH MIB          write and sync a file, then wait as sleeper
 *   tree COUNT              COUNT children that wait, each in its own session; wait as sleeper
 *   serve PORT TEXT         answer every HTTP request on all addresses with TEXT
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }
static void reap(int sig) { (void)sig; while (waitpid(-1, 0, WNOHANG) > 0) ; }

static void on(int sig, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_NOCLDSTOP | SA_RESTART };
	sigaction(sig, &action, 0);
}

static _Noreturn void wait_for_end(void)
{
	for (;;)
		pause();
}

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void put(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n < 0)
			fail("write");
		data += n;
		size -= n;
	}
}

static int blocks(long count, long size)
{
	char *block = malloc(size);

	if (size < 1 || !block)
		fail("malloc");
	memset(block, 'x', size);
	block[size - 1] = '\n';
	for (long i = 0; i < count; i++)
		put(1, block, size);
	return 0;
}

static int numbers(long rate, long count)
{
	struct timespec next;
	char line[101];

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long i = 0; count == 0 || i < count; i++) {
		snprintf(line, sizeof line, "o%-98ld\n", i);
		put(1, line, 100);
		line[0] = 'e';
		put(2, line, 100);
		/* a batch each 10 ms: a sleep for every line would keep no high rate */
		if (rate < 100 || i % (rate / 100) == 0) {
			next.tv_nsec += rate < 100 ? 1000000000 / (rate < 1 ? 1 : rate) : 10000000;
			while (next.tv_nsec >= 1000000000) {
				next.tv_nsec -= 1000000000;
				next.tv_sec++;
			}
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
		}
	}
	return 0;
}

static _Noreturn void hold(long mib)
{
	char *memory = mmap(0, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	memset(memory, 1, mib << 20);
	puts("held");
	fflush(stdout);
	wait_for_end();
}

static int outlive(long mib, int code)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0)
		hold(mib);
	waitpid(pid, 0, 0);
	return code;
}

static _Noreturn void write_file(const char *path, long mib)
{
	static char block[1 << 20];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		fail(path);
	memset(block, 1, sizeof block);
	for (long i = 0; i < mib; i++)
		put(fd, block, sizeof block);
	if (fsync(fd) < 0)
		fail(path);
	close(fd);
	puts("written");
	fflush(stdout);
	wait_for_end();
}

static _Noreturn void tree(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			setsid();
			wait_for_end();
		}
	}
	puts("grown");
	fflush(stdout);
	wait_for_end();
}

static _Noreturn void serve(int port, const char *text)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int one = 1, sock = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char request[4096], reply[4096];

	if (sock < 0)
		fail("socket");
	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(sock, (struct sockaddr *)&address, sizeof address) < 0 || listen(sock, 64) < 0)
		fail("listen");
	int size = snprintf(reply, sizeof reply, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n"
			    "Content-Length: %zu\r\n\r\n%s\n", strlen(text) + 1, text);
	for (;;) {
		int peer = accept(sock, 0, 0);
		if (peer < 0)
			continue;
		if (read(peer, request, sizeof request) > 0)
			send(peer, reply, size, MSG_NOSIGNAL);
		shutdown(peer, SHUT_WR);
		while (read(peer, request, sizeof request) > 0)
			;
		close(peer);
	}
}

int main(int argc, char **argv)
{
	const char *verb = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

	if (!strcmp(verb, "work")) {
		if (argc < 2)
			return 2;
		argv++, argc--;
		verb = argv[0];
	}
	const char *first = argc > 1 ? argv[1] : "", *second = argc > 2 ? argv[2] : "";
	long a = atol(first), b = atol(second);

	if (!strcmp(verb, "true"))
		return 0;
	if (!strcmp(verb, "exit"))
		return a;
	if (!strcmp(verb, "crash")) {
		volatile int *volatile nowhere = 0;
		*nowhere = 0;
	}
	if (!strcmp(verb, "env"))
		return puts(getenv(first) ? getenv(first) : "") < 0;

	on(SIGTERM, end);
	on(SIGINT, end);
	on(SIGCHLD, reap);
	if (!strcmp(verb, "sleeper"))
		wait_for_end();
	if (!strcmp(verb, "stubborn")) {
		on(SIGTERM, SIG_IGN);
		wait_for_end();
	}
	if (!strcmp(verb, "lines") || !strcmp(verb, "blocks"))
		return blocks(a, b);
	if (!strcmp(verb, "numbers"))
		return numbers(a, b);
	if (!strcmp(verb, "burn"))
		for (volatile long i = 0;; i++)
			;
	if (!strcmp(verb, "hold"))
		hold(a);
	if (!strcmp(verb, "outlive"))
		return outlive(a, b);
	if (!strcmp(verb, "write"))
		write_file(first, b);
	if (!strcmp(verb, "tree"))
		tree(a);
	if (!strcmp(verb, "serve"))
		serve(a, second);
	fprintf(stderr, "work: no verb %s\n", verb);
	return 2;
}
