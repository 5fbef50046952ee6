// A client of the streaming server, made of what kubectl and crictl are made of.
//
//	streaming-client exec    [-websocket] [-stdin] [-stdout] [-stderr] [-tty] [-sizes 80x24,…] URL
//	streaming-client forward [-websocket] -port P [-connections N] [-bytes N] URL
//
// exec passes its own stdio through and exits with the command's code, or with 200 and a reason on
// stderr. It serves attach as well. forward sends random bytes over each of many connections at
// once, ends its half, and compares what comes back.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "exec":
		err = execute(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "forward":
		err = forward(os.Args[2:])
	default:
		err = fmt.Errorf("usage: streaming-client exec|forward …")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "streaming-client:", err)
		os.Exit(200)
	}
}
