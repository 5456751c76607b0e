// grpc-gateway as its users run it, with JSON names as in ProtoJSON. Arguments: back end, address to listen on.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"front/bench"

	"github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: rival BACKEND LISTEN")
	}
	mux := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{}))
	options := []grpc.DialOption{grpc.WithInsecure()}
	if err := bench.RegisterThingServiceHandlerFromEndpoint(context.Background(), mux, os.Args[1], options); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[2], mux))
}
