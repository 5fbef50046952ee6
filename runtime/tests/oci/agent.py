# Listens at argv[1], writes what comes with each filter to argv[2] as a line, and answers mkdir and
# mkdirat by the path that they name: one with "refused" by EDQUOT, one with "pretended" by success, and
# all else goes on.
import fcntl, json, os, socket, struct, sys, threading

RECEIVE, SEND, CONTINUE, EDQUOT = 0xC0502100, 0xC0182101, 1, 122
path, states = sys.argv[1:]
# The second machine has no mkdir.
mkdir, mkdirat = {"x86_64": (83, 258), "aarch64": (-1, 34)}[os.uname().machine]


def text(pid, address):
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(address)
        return memory.read(256).split(b"\0")[0].decode()


def serve(fd):
    while True:
        call = bytearray(80)
        try:
            fcntl.ioctl(fd, RECEIVE, call)
        except OSError:
            return os.close(fd)
        id, pid, _, number, _, _, first, second = struct.unpack_from("=QIIiIQQQ", call)
        try:
            named = text(pid, first if number == mkdir else second)
        except OSError:
            named = ""
        value, error, flags = 0, 0, CONTINUE
        if number in (mkdir, mkdirat) and "refused" in named:
            error, flags = -EDQUOT, 0
        elif number in (mkdir, mkdirat) and "pretended" in named:
            flags = 0
        try:
            fcntl.ioctl(fd, SEND, struct.pack("=QqiI", id, value, error, flags))
        except OSError:
            pass


listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(path)
listener.listen(8)
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    told, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
    connection.close()
    with open(states, "a") as file:
        file.write(json.dumps(json.loads(told)) + "\n")
    for fd in fds:
        threading.Thread(target=serve, args=(fd,), daemon=True).start()
