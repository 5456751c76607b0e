// The gRPC server behind all fronts of the benchmark. Prints its address, then serves until it is killed.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"front/bench"

	"github.com/golang/protobuf/ptypes/timestamp"
	"google.golang.org/grpc"
)

const largestPage = 100_000

type things struct {
	bench.UnimplementedThingServiceServer
}

func thing(id string) *bench.Thing {
	return &bench.Thing{
		Id:         id,
		Name:       "a thing of the benchmark",
		CreateTime: &timestamp.Timestamp{Seconds: 1767323045},
		Revision:   1234567890123,
		Size:       42,
	}
}

func (things) GetThing(_ context.Context, request *bench.GetThingRequest) (*bench.Thing, error) {
	return thing(request.Id), nil
}

func (things) ListThings(_ context.Context, request *bench.ListThingsRequest) (*bench.ListThingsResponse, error) {
	size := int(request.PageSize)
	if size < 0 || size > largestPage {
		size = 0
	}
	page := make([]*bench.Thing, size)
	for at := range page {
		page[at] = thing(fmt.Sprintf("thing-%d", at))
	}
	return &bench.ListThingsResponse{Things: page}, nil
}

func (things) WatchThings(request *bench.WatchThingsRequest, stream bench.ThingService_WatchThingsServer) error {
	interval := time.Duration(request.IntervalMs) * time.Millisecond
	if interval < time.Millisecond || interval > time.Minute {
		interval = time.Second
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := stream.Send(thing("tick")); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-ticker.C:
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	bench.RegisterThingServiceServer(server, things{})
	fmt.Println(listener.Addr())
	log.Fatal(server.Serve(listener))
}
