// Sends events with the unmodified CloudEvents SDK for Go: produce BASE_URL.
// The subject names the case, and `tokens` is its number in the test's table. Prints the status of each request as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

func event(subject string, data any) cloudevents.Event {
	made := cloudevents.NewEvent()
	made.SetID(subject)
	made.SetType("go-prompt")
	made.SetSource("/go")
	made.SetSubject(subject)
	made.SetExtension("trace", "t-1")
	made.SetExtension("number", 7)
	if err := made.SetData(cloudevents.ApplicationJSON, data); err != nil {
		log.Fatal(err)
	}
	return made
}

func tokens(number int) map[string]int {
	return map[string]int{"tokens": number}
}

func main() {
	target := os.Args[1] + "/api/v1/events"
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(target))
	if err != nil {
		log.Fatal(err)
	}
	statuses := map[string]int{}
	send := func(ctx context.Context, sent cloudevents.Event) {
		result := client.Send(ctx, sent)
		var answer *cehttp.Result
		if !cloudevents.ResultAs(result, &answer) {
			log.Fatalf("%s: %v", sent.Subject(), result)
		}
		statuses[sent.Subject()] = answer.StatusCode
	}
	plain := context.Background()
	structured := cloudevents.WithEncodingStructured(plain)
	send(plain, event("binary", tokens(1)))
	send(plain, event("binary bytes", []byte(`{"tokens":2}`)))
	send(plain, event("Zoë/€ 1%", tokens(3)))
	send(structured, event("structured", tokens(4)))
	send(structured, event("structured raw", json.RawMessage(`{"tokens":5}`)))
	send(structured, event("structured bytes", []byte(`{"tokens":6}`)))

	events := []cloudevents.Event{event("batch 1", tokens(7)), event("batch 2", []byte(`{"tokens":8}`))}
	request, err := cloudevents.NewHTTPRequestFromEvents(plain, target, events)
	if err != nil {
		log.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
	statuses["batch"] = response.StatusCode
	printed, err := json.Marshal(statuses)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(printed))
}
