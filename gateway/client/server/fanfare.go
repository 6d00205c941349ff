// Package fanfare speaks Fanfare's HTTP API: one file, no dependency, Go 1.21 and later.
package fanfare

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client is one installation of Fanfare, by the internal port of any of its nodes.
type Client struct {
	URL  string       // such as http://127.0.0.1:8081
	Key  string       // an API key
	HTTP *http.Client // whose Timeout bounds each call; http.DefaultClient if nil
}

// Error is a call that was refused or failed.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"` // one of the protocol's
	Message string `json:"message"`
	Retry   bool   `json:"retry"` // whether to try again
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s (HTTP %d)", e.Code, e.Message, e.Status) }

// Position says where a publication stands in the log of its room.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// Options of a message.
type Options struct {
	Event  string `json:"event,omitempty"`
	Key    string `json:"key,omitempty"`    // by which a repetition is known
	Except string `json:"except,omitempty"` // a client to leave out
}

// Outcome is what became of one message of several: a position, or an error.
type Outcome struct {
	Position
	Error *Error `json:"error"`
}

// Message is one that a room keeps.
type Message struct {
	Offset uint64          `json:"offset"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Binary bool            `json:"binary"` // whether Data is bytes in base64
	From   string          `json:"from"`
	Time   uint64          `json:"time"` // in milliseconds since 1970
}

// History is what a room keeps.
type History struct {
	Position
	Messages []Message `json:"messages"`
}

// Member is one connection in a room.
type Member struct {
	Client string          `json:"client"`
	User   string          `json:"user"`
	Info   json.RawMessage `json:"info"`
}

type message struct {
	Rooms []string `json:"rooms,omitempty"`
	Options
	Data   any  `json:"data"`
	Binary bool `json:"binary,omitempty"`
}

func newMessage(rooms []string, data any, options Options) message {
	// As JSON, bytes are a string in base64.
	_, binary := data.([]byte)
	return message{rooms, options, data, binary}
}

// Publish publishes into a room, and answers once the message is in the room's log. A []byte is
// sent as bytes, all else as JSON.
func (c *Client) Publish(ctx context.Context, room string, data any, options Options) (at Position, err error) {
	err = c.call(ctx, "POST", nil, newMessage(nil, data, options), &at, "rooms", room, "messages")
	return
}

// Broadcast publishes into up to 1000 rooms, and answers an outcome for each.
func (c *Client) Broadcast(ctx context.Context, rooms []string, data any, options Options) ([]Outcome, error) {
	var answer struct{ Results []Outcome }
	err := c.call(ctx, "POST", nil, newMessage(rooms, data, options), &answer, "messages")
	return answer.Results, err
}

// Send sends to all connections of a user, and answers whether one of them has it.
func (c *Client) Send(ctx context.Context, user string, data any, event string) (bool, error) {
	var answer struct{ Delivered bool }
	body := newMessage(nil, data, Options{Event: event})
	err := c.call(ctx, "POST", nil, body, &answer, "users", user, "messages")
	return answer.Delivered, err
}

// History reads what a room keeps: all of it, or what came after a position; at most limit if that
// is not 0.
func (c *Client) History(ctx context.Context, room string, since *Position, limit int) (kept History, err error) {
	query := url.Values{}
	if since != nil {
		query.Set("since", since.Epoch+":"+strconv.FormatUint(since.Offset, 10))
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	err = c.call(ctx, "GET", query, nil, &kept, "rooms", room, "messages")
	return
}

// Presence goes through the members of a room, however many, from page to page, until each answers
// false.
func (c *Client) Presence(ctx context.Context, room string, each func(Member) bool) error {
	query := url.Values{}
	for {
		var page struct {
			Members []Member
			Next    string
		}
		if err := c.call(ctx, "GET", query, nil, &page, "rooms", room, "members"); err != nil {
			return err
		}
		for _, member := range page.Members {
			if !each(member) {
				return nil
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

// DisconnectUser closes all connections of a user.
func (c *Client) DisconnectUser(ctx context.Context, user, reason string) error {
	return c.call(ctx, "DELETE", why(reason), nil, nil, "users", user, "connections")
}

// DisconnectClient closes one connection.
func (c *Client) DisconnectClient(ctx context.Context, client, reason string) error {
	return c.call(ctx, "DELETE", why(reason), nil, nil, "connections", client)
}

// DisconnectRoom closes the connections of all members of a room.
func (c *Client) DisconnectRoom(ctx context.Context, room, reason string) error {
	return c.call(ctx, "DELETE", why(reason), nil, nil, "rooms", room, "connections")
}

func why(reason string) url.Values {
	if reason == "" {
		return nil
	}
	return url.Values{"reason": {reason}}
}

func (c *Client) call(ctx context.Context, method string, query url.Values, body, answer any, path ...string) error {
	address := strings.TrimRight(c.URL, "/") + "/v1"
	for _, part := range path {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("fanfare: %q cannot stand in an address; take another name", part)
		}
		address += "/" + url.PathEscape(part)
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.Key)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said := struct{ Error *Error }{}
		if json.NewDecoder(response.Body).Decode(&said) != nil || said.Error == nil {
			said.Error = &Error{Code: "internal", Retry: response.StatusCode >= 500}
		}
		said.Error.Status = response.StatusCode
		return said.Error
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// Token signs a token for a client, by HS256. Claims: sub, rooms, auto, info.
func Token(secret []byte, claims map[string]any, ttl time.Duration) (string, error) {
	now := time.Now()
	all := map[string]any{"iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	encoded, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	base64url := base64.RawURLEncoding.EncodeToString
	signed := base64url([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64url(encoded)
	return signed + "." + base64url(code(secret, signed)), nil
}

// Verify answers whether the signature of a webhook holds: nil, or why it does not. Tolerance says
// how old it may be; five minutes is usual.
func Verify(secret string, headers http.Header, body []byte, tolerance time.Duration) error {
	id, at := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	sent, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > tolerance {
		return errors.New("webhook-timestamp: missing, or too far from now")
	}
	key := []byte(secret)
	if encoded, found := strings.CutPrefix(secret, "whsec_"); found {
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return errors.New("secret: not base64 behind whsec_")
		}
	}
	right := "v1," + base64.StdEncoding.EncodeToString(code(key, id+"."+at+"."+string(body)))
	for _, one := range strings.Split(headers.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(one), []byte(right)) {
			return nil
		}
	}
	return errors.New("webhook-signature: none was made with this secret")
}

func code(key []byte, signed string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
