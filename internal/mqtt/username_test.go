package mqtt_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt"
)

// usernames are of the clients that there are, and odd ones that are right too.
var usernames = []struct{ name, in, scope, id, version string }{
	{"Python", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0" +
		"%28python_runtime%2F3.11.2%3BLinux%206.1%3Bx86_64%29", "0ne00000001", "dev-1", "2019-03-31"},
	{"Node", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device-mqtt%2F1.7.3" +
		"%20(node%20v20.1.0%3B%20Linux%3B%20x64)", "0ne00000001", "dev-1", "2019-03-31"},
	{"Java", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=2019-03-31", "0ne00000001", "dev-1", "2019-03-31"},
	{"C", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=1.15.0", "0ne00000001", "dev-1", "2019-03-31"},
	{
		"C#", "0ne00000001/registrations/dev-1/api-version=2021-06-01&ClientVersion=.NET%2f1.19.2%20%28.NET+6.0%3b+Linux%3b+X64%29",
		"0ne00000001", "dev-1", "2021-06-01",
	},
	{"embedded", "0ne00000001/registrations/dev-1/api-version=2019-03-31", "0ne00000001", "dev-1", "2019-03-31"},
	{
		"embedded with an agent", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=c%2F1.5.0", "0ne00000001", "dev-1",
		"2019-03-31",
	},
	{
		"agent with its slashes", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=c/1.5.0/x", "0ne00000001", "dev-1",
		"2019-03-31",
	},
	{
		"agent names a version", "0ne00000001/registrations/dev-1/api-version=2019-03-31&ClientVersion=x/api-version=2", "0ne00000001", "dev-1",
		"2019-03-31",
	},
	{"encoded, upper hex", "0ne00000001/registrations/urn%3Adev%3A1/api-version=2019%2D03%2D31", "0ne00000001", "urn:dev:1", "2019-03-31"},
	{"encoded, lower hex", "0ne00000001/registrations/urn%3adev%3a1/api-version=2019%2d03%2d31", "0ne00000001", "urn:dev:1", "2019-03-31"},
	{"encoded scope", "0ne%30000001/registrations/dev-1/api-version=2019-03-31", "0ne0000001", "dev-1", "2019-03-31"},
	{"upper case kept", "0ne00000001/Registrations/Dev_A.1/api-version=2019-03-31", "0ne00000001", "Dev_A.1", "2019-03-31"},
	{"version is judged later", "0ne00000001/registrations/dev-1/api-version=soon", "0ne00000001", "dev-1", "soon"},
	{"longest ID", "s/registrations/" + strings.Repeat("d", 128) + "/api-version=1", "s", strings.Repeat("d", 128), "1"},
}

// notUsernames cannot be read.
var notUsernames = []struct{ name, in string }{
	{"empty", ""},
	{"no version", "0ne00000001/registrations/dev-1"},
	{"version is empty", "0ne00000001/registrations/dev-1/api-version="},
	{"version is empty before an agent", "0ne00000001/registrations/dev-1/api-version=&ClientVersion=x"},
	{"agent alone", "0ne00000001/registrations/dev-1/ClientVersion=x"},
	{"question mark, as hubs have it", "0ne00000001/registrations/dev-1/?api-version=2019-03-31"},
	{"no scope", "/registrations/dev-1/api-version=2019-03-31"},
	{"no ID", "0ne00000001/registrations//api-version=2019-03-31"},
	{"two parts", "0ne00000001/dev-1/api-version=2019-03-31"},
	{"four parts", "0ne00000001/registrations/dev/1/api-version=2019-03-31"},
	{"other word", "0ne00000001/devices/dev-1/api-version=2019-03-31"},
	{"slash in ID", "0ne00000001/registrations/dev%2F1/api-version=2019-03-31"},
	{"blank in ID", "0ne00000001/registrations/dev%201/api-version=2019-03-31"},
	{"ID too long", "s/registrations/" + strings.Repeat("d", 129) + "/api-version=1"},
	{"ID ends badly", "0ne00000001/registrations/dev./api-version=2019-03-31"},
	{"scope is not encoded", "0ne%/registrations/dev-1/api-version=2019-03-31"},
	{"ID is not encoded", "0ne00000001/registrations/dev%zz/api-version=2019-03-31"},
	{"version is not encoded", "0ne00000001/registrations/dev-1/api-version=%"},
	{"too long", "s/registrations/d/api-version=1&ClientVersion=" + strings.Repeat("x", 2048)},
	{"a hub's", "hub.example.com/dev-1/?api-version=2021-04-12"},
}

func TestParseUsername(t *testing.T) {
	for _, tt := range usernames {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mqtt.ParseUsername(tt.in)
			if err != nil || string(got.Scope) != tt.scope || string(got.ID) != tt.id || got.APIVersion != tt.version {
				t.Errorf("ParseUsername(%q) = %+v, %v", tt.in, got, err)
			}
		})
	}
	for _, tt := range notUsernames {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := mqtt.ParseUsername(tt.in); err == nil {
				t.Errorf("ParseUsername(%q) = %+v, want an error", tt.in, got)
			}
		})
	}
}

func FuzzParseUsername(f *testing.F) {
	for _, tt := range usernames {
		f.Add(tt.in)
	}
	for _, tt := range notUsernames {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := mqtt.ParseUsername(name)
		if err != nil {
			if len(err.Error()) > len(name)*4+300 {
				t.Errorf("a long error: %v", err)
			}
			return
		}
		if got.Scope == "" || got.APIVersion == "" || strings.ContainsAny(string(got.ID), "/ ") {
			t.Errorf("ParseUsername(%q) = %+v", name, got)
		}
		if id, err := dps.ParseRegistrationID(string(got.ID)); err != nil || id != got.ID {
			t.Errorf("the ID %q is none: %v", got.ID, err)
		}
	})
}

// topics are requests that are understood.
var topics = []struct {
	in, rid, operation string
	poll               bool
}{
	{in: "$dps/registrations/PUT/iotdps-register/?$rid=1", rid: "1"},
	{in: "$dps/registrations/PUT/iotdps-register/?$rid=ab-CD_%2F=x", rid: "ab-CD_%2F=x"},
	{in: "$dps/registrations/PUT/iotdps-register/?x=y&$rid=1&z", rid: "1"},
	{in: "$dps/registrations/PUT/iotdps-register/?$rid=1&operationId=op", rid: "1", operation: "op"},
	{in: "$dps/registrations/PUT/iotdps-register/?$rid=" + strings.Repeat("r", 256), rid: strings.Repeat("r", 256)},
	{in: "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7&operationId=4.ab.cd", rid: "7", operation: "4.ab.cd", poll: true},
	{in: "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=4.ab.cd&$rid=7", rid: "7", operation: "4.ab.cd", poll: true},
}

var notTopics = []string{
	"", "?", "x", "$dps/registrations/res/202/?$rid=1", "$iothub/twin/PATCH/properties/reported/?$rid=1",
	"$dps/registrations/PUT/iotdps-register/", "$dps/registrations/PUT/iotdps-register/?",
	"$dps/registrations/PUT/iotdps-register/?$rid=", "$dps/registrations/PUT/iotdps-register/?rid=1",
	"$dps/registrations/PUT/iotdps-register?$rid=1", "$dps/registrations/GET/iotdps-register/?$rid=1",
	"$dps/registrations/PUT/iotdps-register/x/?$rid=1", "/$dps/registrations/PUT/iotdps-register/?$rid=1",
	"$dps/registrations/PUT/iotdps-register/?$rid=" + strings.Repeat("r", 257),
	"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1", "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=",
	"$dps/registrations/GET/iotdps-get-operationstatus/?operationId=x", "devices/dev-1/messages/events/",
}

func TestParseTopic(t *testing.T) {
	for _, tt := range topics {
		poll, rid, operation, err := mqtt.ParseTopic(tt.in)
		if err != nil || poll != tt.poll || rid != tt.rid || string(operation) != tt.operation {
			t.Errorf("ParseTopic(%q) = %v, %q, %q, %v", tt.in, poll, rid, operation, err)
		}
	}
	for _, topic := range notTopics {
		if _, _, _, err := mqtt.ParseTopic(topic); err == nil {
			t.Errorf("ParseTopic(%q) is understood", topic)
		}
	}
}

func TestAnswerTopic(t *testing.T) {
	for _, tt := range []struct {
		status  int
		seconds float64
		want    string
	}{
		{202, 1, "$dps/registrations/res/202/?$rid=r&retry-after=1"},
		{202, 0.001, "$dps/registrations/res/202/?$rid=r&retry-after=1"},
		{429, 1.2, "$dps/registrations/res/429/?$rid=r&retry-after=2"},
		{200, 0, "$dps/registrations/res/200/?$rid=r"},
	} {
		if got := mqtt.AnswerTopic(tt.status, "r", seconds(tt.seconds)); got != tt.want {
			t.Errorf("AnswerTopic(%d, %v) = %q, want %q", tt.status, tt.seconds, got, tt.want)
		}
	}
}

func FuzzParseTopic(f *testing.F) {
	for _, tt := range topics {
		f.Add(tt.in)
	}
	for _, topic := range notTopics {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		poll, rid, operation, err := mqtt.ParseTopic(topic)
		if err != nil {
			return
		}
		if rid == "" || len(rid) > 256 || strings.ContainsAny(rid, "&") || poll && operation == "" {
			t.Errorf("ParseTopic(%q) = %v, %q, %q", topic, poll, rid, operation)
		}
		answer := mqtt.AnswerTopic(202, rid, seconds(1))
		if utf8.ValidString(topic) && !strings.HasPrefix(answer, "$dps/registrations/res/202/?$rid="+rid+"&retry-after=1") {
			t.Errorf("the answer to %q goes to %q", topic, answer)
		}
	})
}

func TestIsHubLogin(t *testing.T) {
	for name, want := range map[string]bool{
		"hub.example.com/dev-1/?api-version=2021-04-12":                            true,
		"hub.example.com/dev-1/?api-version=2021-04-12&DeviceClientType=py%2F2.12": true,
		"hub.example.com/dev-1/module/?api-version=2021-04-12":                     true,
		"hub.example.com/dev-1/api-version=2016-11-14":                             true,
		"hub.example.com/dev-1":                                                    true,
		"hub.example.com/dev-1/":                                                   true,
		"localhost/dev-1/?api-version=2021-04-12":                                  true,
		"localhost/dev-1?api-version=2021-04-12":                                   true,
		"0ne00000001/registrations/dev-1/?api-version=2019-03-31":                  false,
		"0ne00000001/registrations/dev-1/api-version=2019-03-31":                   false,
		"0ne00000001/dev-1/api-version=2019-03-31":                                 false,
		"": false, "dev-1": false, "hub.example.com": false, "?api-version=1": false, "a.b/c/d/e/?api-version=1": false,
	} {
		if got := mqtt.IsHubLogin(name); got != want {
			t.Errorf("IsHubLogin(%q) = %v", name, got)
		}
	}
}
