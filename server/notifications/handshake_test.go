package notifications

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

func TestWhoMayConnectAndHow(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	bearing := func(token string) http.Header { return http.Header{"Authorization": {token}} }
	offering := func(protocols ...string) http.Header { return http.Header{"Sec-Websocket-Protocol": protocols} }
	const (
		none      = "Authentication credentials were not provided."
		invalid   = "Given token not valid for any token type"
		forbidden = "You do not have permission to perform this action."
	)
	for name, test := range map[string]struct {
		path     string
		header   http.Header
		status   int
		message  string
		protocol string
	}{
		"token in the query":               {path: "7/?token=user-7", status: 101},
		"token in the header":              {path: "7/", header: bearing("Bearer user-7"), status: 101},
		"token in the header, odd case":    {path: "7/", header: bearing("bearer  user-7"), status: 101},
		"token as a subprotocol":           {path: "7/", header: offering("bearer, user-7"), status: 101, protocol: "bearer"},
		"token as a subprotocol, two rows": {path: "7/", header: offering("bearer", "user-7"), status: 101, protocol: "bearer"},
		"among other subprotocols":         {path: "7/", header: offering("graphql, bearer,user-7"), status: 101, protocol: "bearer"},
		"without the last slash":           {path: "7?token=user-7", status: 101},
		"staff watches a user":             {path: "7/?token=staff-1", status: 101},
		"a proxy's own credentials":        {path: "7/?token=user-7", header: bearing("Basic cHJveHk="), status: 101},
		"the header wins":                  {path: "7/?token=user-7", header: bearing("Bearer forged"), status: 401, message: invalid},

		"no token":                {path: "7/", status: 401, message: none},
		"empty token":             {path: "7/?token=", status: 401, message: none},
		"empty token, header":     {path: "7/", header: bearing("Bearer "), status: 401, message: none},
		"bad token":               {path: "7/?token=forged", status: 401, message: invalid},
		"bad token, header":       {path: "7/", header: bearing("Bearer forged"), status: 401, message: invalid},
		"bad token, subprotocol":  {path: "7/", header: offering("bearer, forged"), status: 401, message: invalid},
		"subprotocol alone":       {path: "7/", header: offering("bearer"), status: 401, message: none},
		"token before its marker": {path: "7/", header: offering("user-7, bearer"), status: 401, message: none},
		"another user":            {path: "8/?token=user-7", status: 403, message: forbidden},
		"nobody":                  {path: "0/?token=staff-1", status: 404, message: "Not found."},
		"no number":               {path: "me/?token=user-7", status: 404, message: "Not found."},
		"beyond numbers":          {path: "9223372036854775808/?token=staff-1", status: 404, message: "Not found."},
	} {
		t.Run(name, func(t *testing.T) {
			_, answer, protocol := handshake(t, "ws://"+p.address+"/ws/notifications/"+test.path, test.header)
			if answer.status != test.status || answer.body["error"] != test.message || protocol != test.protocol {
				t.Errorf("%d %q, subprotocol %q; want %d %q, %q",
					answer.status, answer.body["error"], protocol, test.status, test.message, test.protocol)
			}
			if challenge := answer.header.Get("WWW-Authenticate"); (challenge == `Bearer realm="api"`) != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
	expectOpen(t, p, 0)
}

func TestHandshakesThatAreNone(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	const key = "dGhlIHNhbXBsZSBub25jZQ==" // the example of RFC 6455
	for name, test := range map[string]struct {
		method                            string
		upgrade, connection, version, key string
		status                            int
		header, value                     string
	}{
		"plain GET":             {status: 426, header: "Upgrade", value: "websocket"},
		"no Connection":         {upgrade: "websocket", version: "13", key: key, status: 426, header: "Upgrade", value: "websocket"},
		"another protocol":      {upgrade: "h2c", connection: "Upgrade", version: "13", key: key, status: 426, header: "Upgrade", value: "websocket"},
		"an old version":        {upgrade: "websocket", connection: "Upgrade", version: "8", key: key, status: 426, header: "Sec-Websocket-Version", value: "13"},
		"no version":            {upgrade: "websocket", connection: "Upgrade", key: key, status: 426, header: "Sec-Websocket-Version", value: "13"},
		"no key":                {upgrade: "websocket", connection: "Upgrade", version: "13", status: 400},
		"a short key":           {upgrade: "websocket", connection: "Upgrade", version: "13", key: "c2hvcnQ=", status: 400},
		"a key not in base64":   {upgrade: "websocket", connection: "Upgrade", version: "13", key: "!", status: 400},
		"right, in odd letters": {upgrade: "WebSocket", connection: "keep-alive, upgrade", version: "13", key: key, status: 101},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
				"http://"+p.address+"/ws/notifications/7/?token=user-7", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			for header, value := range map[string]string{"Upgrade": test.upgrade, "Connection": test.connection,
				"Sec-WebSocket-Version": test.version, "Sec-WebSocket-Key": test.key} {
				if value != "" {
					request.Header.Set(header, value)
				}
			}
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status {
				t.Errorf("status %d, want %d", response.StatusCode, test.status)
			}
			if test.status == http.StatusSwitchingProtocols {
				_ = response.Body.Close()
				return
			}
			if answer := read(t, response); answer.body["error"] == "" || answer.header.Get(test.header) != test.value {
				t.Errorf("answer %v with the header %v, want an error and %s: %s", answer.body, answer.header, test.header, test.value)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	db := migrated(t)
	unlisted := startPod(t, db, pubsub.Embedded)
	listed := startPod(t, db, pubsub.Embedded, origins("https://shop.example.com", "http://localhost:3000"))
	anyone := startPod(t, db, pubsub.Embedded, origins("*"))
	for name, test := range map[string]struct {
		pod     *pod
		header  map[string]string
		allowed bool
	}{
		"none, no list":               {pod: unlisted, allowed: true},
		"own host":                    {pod: unlisted, header: map[string]string{"Origin": "http://127.0.0.1:8000"}, allowed: true},
		"own host by name":            {pod: unlisted, header: map[string]string{"Origin": "https://Shop.example.com", "Host": "shop.Example.com"}, allowed: true},
		"another host":                {pod: unlisted, header: map[string]string{"Origin": "https://evil.example"}},
		"own host in front":           {pod: unlisted, header: map[string]string{"Origin": "https://127.0.0.1.evil.example"}},
		"own host as user":            {pod: unlisted, header: map[string]string{"Origin": "https://127.0.0.1@evil.example"}},
		"null":                        {pod: unlisted, header: map[string]string{"Origin": "null"}},
		"no URL":                      {pod: unlisted, header: map[string]string{"Origin": "://"}},
		"forwarded host, not a proxy": {pod: unlisted, header: map[string]string{"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}},
		"none, list":                  {pod: listed, allowed: true},
		"first of the list":           {pod: listed, header: map[string]string{"Origin": "https://shop.example.com"}, allowed: true},
		"second, odd case":            {pod: listed, header: map[string]string{"Origin": "HTTP://LocalHost:3000"}, allowed: true},
		"another port":                {pod: listed, header: map[string]string{"Origin": "http://localhost:3001"}},
		"another scheme":              {pod: listed, header: map[string]string{"Origin": "http://shop.example.com"}},
		"own host, not listed":        {pod: listed, header: map[string]string{"Origin": "http://127.0.0.1:8000"}, allowed: true},
		"the public URL":              {pod: listed, header: map[string]string{"Origin": "https://public.example.com"}, allowed: true},
		"the public URL, no list":     {pod: unlisted, header: map[string]string{"Origin": "https://public.example.com"}, allowed: true},
		"the public URL, not secure":  {pod: unlisted, header: map[string]string{"Origin": "http://public.example.com"}},
		"any":                         {pod: anyone, header: map[string]string{"Origin": "https://evil.example"}, allowed: true},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Authorization": {"Bearer user-7"}}
			for name, value := range test.header {
				header.Set(name, value)
			}
			allowed, answer, _ := handshake(t, test.pod.url(7), header)
			if allowed != test.allowed || !allowed && (answer.status != 403 || answer.body["error"] != "Origin not allowed.") {
				t.Errorf("%d %v; allowed should be %v", answer.status, answer.body, test.allowed)
			}
		})
	}
}

func TestOriginIsComparedWithTheHostThatAProxyWasAsked(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	trusted := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // see [pod.listen]
	dialer := websocket.Dialer{NetDialContext: trusted.DialContext}
	for origin, allowed := range map[string]bool{"https://shop.example.com": true, "http://127.0.0.1": false} {
		header := http.Header{"X-Forwarded-Host": {"shop.example.com"}, "Origin": {origin}}
		conn, response, err := dialer.DialContext(t.Context(), p.url(7)+"?token=user-7", header)
		if response == nil {
			t.Fatal(err)
		}
		if (err == nil) != allowed {
			t.Errorf("origin %s: %d, allowed should be %v", origin, response.StatusCode, allowed)
		}
		_ = response.Body.Close()
		_ = conn.Close()
	}
}

func TestDatabaseAwayIsSaidBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	server := databasetest.StartPostgres(t)
	p := startPod(t, databasetest.Open(t, server.URL()), pubsub.Embedded)
	server.Stop(t)
	_, answer, _ := handshake(t, p.url(7)+"?token=user-7", nil)
	if answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" {
		t.Errorf("%d %v, want 503 with Retry-After", answer.status, answer.body)
	}
}

func TestDrainingRefusesNewSockets(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.hub.Drain(t.Context(), time.Hour) // nobody is there to be waited for
	_, answer, _ := handshake(t, p.url(7)+"?token=user-7", nil)
	if answer.status != http.StatusServiceUnavailable || !strings.Contains(answer.body["error"], "try again") {
		t.Errorf("%d %v, want 503", answer.status, answer.body)
	}
}
