/* /pause: the first process of a sandbox image. Sleeps until it is told to end, reaps orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }
static void reap(int sig) { (void)sig; while (waitpid(-1, 0, WNOHANG) > 0) ; }

int main(void)
{
	struct sigaction on_end = { .sa_handler = end };
	struct sigaction on_child = { .sa_handler = reap, .sa_flags = SA_NOCLDSTOP | SA_RESTART };

	sigaction(SIGINT, &on_end, 0);
	sigaction(SIGTERM, &on_end, 0);
	sigaction(SIGCHLD, &on_child, 0);
	for (;;)
		pause();
}
