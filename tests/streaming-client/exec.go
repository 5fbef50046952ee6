package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

func execute(args []string) error {
	flags := flag.NewFlagSet("exec", flag.ExitOnError)
	websocket := flags.Bool("websocket", false, "WebSocket v5 instead of SPDY")
	stdin := flags.Bool("stdin", false, "pass stdin")
	stdout := flags.Bool("stdout", false, "pass stdout")
	stderr := flags.Bool("stderr", false, "pass stderr")
	tty := flags.Bool("tty", false, "a terminal")
	sizes := flags.String("sizes", "", "sizes that the terminal takes, such as 80x24,101x33")
	_ = flags.Parse(args)
	executor, err := newExecutor(*websocket, flags.Arg(0))
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if *stdout {
		options.Stdout = os.Stdout
	}
	if *stderr {
		options.Stderr = os.Stderr
	}
	if *tty {
		options.TerminalSizeQueue = parseSizes(*sizes)
	}
	err = executor.StreamWithContext(context.Background(), options)
	var code utilexec.CodeExitError
	if errors.As(err, &code) {
		os.Exit(code.ExitStatus())
	}
	return err
}

func newExecutor(websocket bool, address string) (remotecommand.Executor, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config := configFor(parsed)
	if websocket {
		return remotecommand.NewWebSocketExecutor(config, "GET", address)
	}
	return remotecommand.NewSPDYExecutor(config, "POST", parsed)
}

// A kubelet's certificate is of its own making.
func configFor(address *url.URL) *rest.Config {
	return &rest.Config{
		Host:            address.Host,
		TLSClientConfig: rest.TLSClientConfig{Insecure: address.Scheme == "https"},
	}
}

// Sizes in turn, then none.
type sizeQueue []remotecommand.TerminalSize

func parseSizes(text string) *sizeQueue {
	var queue sizeQueue
	for _, one := range strings.Split(text, ",") {
		var size remotecommand.TerminalSize
		if n, _ := fmt.Sscanf(one, "%dx%d", &size.Width, &size.Height); n == 2 {
			queue = append(queue, size)
		}
	}
	return &queue
}

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	if len(*q) == 0 {
		return nil
	}
	size := (*q)[0]
	*q = (*q)[1:]
	return &size
}
