package fanfare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

var (
	api = &Client{URL: os.Getenv("FANFARE_API"), Key: os.Getenv("FANFARE_API_KEY")}
	ctx = context.Background()
)

// member starts a client that prints what it gets in a room, and waits until it is there.
func member(t *testing.T, user, room string) (*exec.Cmd, *bufio.Scanner) {
	claims := map[string]any{"sub": user, "rooms": map[string][]string{room: {"join"}}}
	token, err := Token([]byte(os.Getenv("FANFARE_AUTH_SECRET")), claims, time.Hour)
	check(t, err)
	command := exec.Command(os.Getenv("FANFARE"), "sub", room, "--json", "--url", os.Getenv("FANFARE_WS"))
	command.Env = append(os.Environ(), "FANFARE_TOKEN="+token)
	output, err := command.StdoutPipe()
	check(t, err)
	check(t, command.Start())
	for here := false; !here; time.Sleep(20 * time.Millisecond) {
		check(t, api.Presence(ctx, room, func(one Member) bool {
			here = here || one.User == user
			return !here
		}))
	}
	return command, bufio.NewScanner(output)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPublishedArrivesAndIsKept(t *testing.T) {
	ann, lines := member(t, "ann", "go:news")
	data := map[string]any{"text": "Zoë 🎺"}
	at, err := api.Publish(ctx, "go:news", data, Options{Event: "news", Key: "k1"})
	check(t, err)
	again, err := api.Publish(ctx, "go:news", data, Options{Key: "k1"})
	check(t, err)
	if at != again || at.Offset != 1 {
		t.Fatal(at, again)
	}
	if !lines.Scan() {
		t.Fatal("nothing arrived")
	}
	var got Message
	check(t, json.Unmarshal(lines.Bytes(), &got))
	if string(got.Data) != `{"text":"Zoë 🎺"}` || got.Event != "news" || got.Offset != 1 {
		t.Fatalf("%+v", got)
	}
	_, err = api.Publish(ctx, "go:news", []byte{0, 255, 10}, Options{})
	check(t, err)
	kept, err := api.History(ctx, "go:news", &at, 10)
	check(t, err)
	if len(kept.Messages) != 1 || string(kept.Messages[0].Data) != `"AP8K"` || !kept.Messages[0].Binary {
		t.Fatalf("%+v", kept)
	}
	check(t, api.DisconnectUser(ctx, "ann", "enough"))
	if ann.Wait() == nil {
		t.Fatal("the client ended as if nothing were")
	}
}

func TestBroadcastHasAnOutcomeForEachRoom(t *testing.T) {
	outcomes, err := api.Broadcast(ctx, []string{"go:one", "go:a/b c"}, 7, Options{})
	check(t, err)
	if len(outcomes) != 2 || outcomes[0].Offset != 1 || outcomes[1].Error != nil {
		t.Fatalf("%+v", outcomes)
	}
	kept, err := api.History(ctx, "go:a/b c", nil, 0)
	check(t, err)
	if len(kept.Messages) != 1 || string(kept.Messages[0].Data) != "7" {
		t.Fatalf("%+v", kept)
	}
}

func TestSendSaysWhetherOneHasIt(t *testing.T) {
	for user, want := range map[string]bool{"nobody": false, "bob": true} {
		if want {
			bob, _ := member(t, user, "go:hall")
			defer bob.Wait()
			defer api.DisconnectRoom(ctx, "go:hall", "")
		}
		delivered, err := api.Send(ctx, user, 1, "")
		check(t, err)
		if delivered != want {
			t.Fatal(user, delivered)
		}
	}
}

func TestRefusalHasACode(t *testing.T) {
	_, err := (&Client{URL: api.URL, Key: "another"}).Publish(ctx, "a", 1, Options{})
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 401 || refused.Code != "unauthorized" || refused.Retry {
		t.Fatal(err)
	}
	if _, err := api.Publish(ctx, "..", 1, Options{}); err == nil {
		t.Fatal("published into a path")
	}
}

func TestSignatureIsVerified(t *testing.T) {
	content, err := os.ReadFile(os.Getenv("VECTORS"))
	check(t, err)
	var vectors []struct {
		Name, Secret, ID, Body, Signature string
		Timestamp                         int64
		Valid                             bool
	}
	check(t, json.Unmarshal(content, &vectors))
	for _, one := range vectors {
		headers := http.Header{}
		headers.Set("webhook-id", one.ID)
		headers.Set("webhook-timestamp", strconv.FormatInt(one.Timestamp, 10))
		headers.Set("webhook-signature", one.Signature)
		if err := Verify(one.Secret, headers, []byte(one.Body), 1<<62); (err == nil) != one.Valid {
			t.Error(one.Name, err)
		}
		if Verify(one.Secret, headers, []byte(one.Body), time.Minute) == nil {
			t.Error("an old one")
		}
	}
}
