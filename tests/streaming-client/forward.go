package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

func forward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	websocket := flags.Bool("websocket", false, "SPDY in WebSocket instead of SPDY")
	port := flags.Int("port", 0, "port in the pod")
	connections := flags.Int("connections", 1, "connections at once")
	size := flags.Int("bytes", 1000, "bytes to send over each")
	_ = flags.Parse(args)
	dialer, err := newDialer(*websocket, flags.Arg(0))
	if err != nil {
		return err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	ports := []string{fmt.Sprintf("0:%d", *port)}
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	local, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	results := make(chan error)
	for range *connections {
		go func() { results <- echo(local[0].Local, *size) }()
	}
	var failed error
	for range *connections {
		failed = errors.Join(failed, <-results)
	}
	close(stop)
	return errors.Join(failed, <-ended)
}

func newDialer(websocket bool, address string) (httpstream.Dialer, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config := configFor(parsed)
	if websocket {
		return portforward.NewSPDYOverWebsocketDialer(parsed, config)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", parsed), nil
}

// What comes back after our half has ended must be what was sent.
func echo(port uint16, size int) error {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer connection.Close()
	sent := make([]byte, size)
	if _, err := rand.Read(sent); err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := connection.Write(sent)
		wrote <- errors.Join(err, connection.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(connection)
	if err := errors.Join(err, <-wrote); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("sent %d bytes, got %d others back", len(sent), len(got))
	}
	return nil
}
