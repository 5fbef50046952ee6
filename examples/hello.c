/* The program of the example image, with a verb for each container of hello.yaml:
 *   page FILE       writes a page
 *   serve DIR PORT  serves DIR/index.html over HTTP/1.0, and 404 for every other path
 *   log FILE        tells, every second, how large FILE is
 *   fetch ADDRESS PORT  prints what a server answers
 * Static, so that the image has nothing else in it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

/* The first process of a container has no default actions: without a handler, SIGTERM would be
 * ignored and the pod's grace would pass. */
static void end(int signal) {
    (void)signal;
    _exit(0);
}

static int page(const char *path) {
    char host[256] = "?";
    FILE *file = fopen(path, "w");
    if (!file) return fail(path);
    gethostname(host, sizeof host - 1);
    fprintf(file, "<h1>Hello from pod %s</h1>\n", host);
    if (fclose(file)) return fail(path);
    printf("wrote %s\n", path);
    return 0;
}

static void answer(int client, const char *dir) {
    char request[4096], path[4096], body[65536];
    ssize_t got = read(client, request, sizeof request - 1);
    if (got <= 0) return;
    request[got] = 0;
    request[strcspn(request, "\r\n")] = 0;
    int found = !strncmp(request, "GET / ", 6) || !strncmp(request, "GET /index.html ", 16);
    size_t size = 0;
    snprintf(path, sizeof path, "%s/index.html", dir);
    FILE *file = found ? fopen(path, "r") : NULL;
    if (file) {
        size = fread(body, 1, sizeof body, file);
        fclose(file);
    }
    dprintf(client, "HTTP/1.0 %s\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n\r\n",
            file ? "200 OK" : "404 Not Found", size);
    if (write(client, body, size) < 0) perror("write");
    printf("%s: %s\n", request, file ? "200" : "404");
}

static int serve(const char *dir, int port) {
    int one = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&here, sizeof here)) return fail("bind");
    if (listen(server, 16)) return fail("listen");
    printf("serving %s on port %d\n", dir, port);
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0) return fail("accept");
        answer(client, dir);
        close(client);
    }
}

static _Noreturn void tell(const char *path) {
    for (;;) {
        struct stat about;
        if (stat(path, &about)) printf("%s is not there yet\n", path);
        else printf("%s has %lld bytes\n", path, (long long)about.st_size);
        sleep(1);
    }
}

static int fetch(const char *host, int port) {
    char piece[4096];
    ssize_t got;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &there.sin_addr) != 1) return fail(host);
    if (connect(server, (struct sockaddr *)&there, sizeof there)) return fail(host);
    dprintf(server, "GET / HTTP/1.0\r\n\r\n");
    while ((got = read(server, piece, sizeof piece)) > 0) fwrite(piece, 1, got, stdout);
    return got < 0 ? fail("read") : 0;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    const char *verb = count > 2 ? words[1] : "";
    if (!strcmp(verb, "page")) return page(words[2]);
    if (!strcmp(verb, "log")) tell(words[2]);
    if (!strcmp(verb, "serve") && count > 3) return serve(words[2], atoi(words[3]));
    if (!strcmp(verb, "fetch") && count > 3) return fetch(words[2], atoi(words[3]));
    fprintf(stderr, "usage: hello page FILE | serve DIR PORT | log FILE | fetch ADDRESS PORT\n");
    return 2;
}
