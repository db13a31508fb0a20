package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/config"
)

func TestHubRates(t *testing.T) {
	a := map[string]int{"a.example": 600}
	for _, tt := range []struct {
		source source
		want   config.HubRates
	}{
		{source{}, config.HubRates{PerMinute: 100}},
		{source{args: []string{"--hub-rate=0"}}, config.HubRates{PerMinute: 0}},
		{source{args: []string{"--hub-rate=A.example=600"}}, config.HubRates{PerMinute: 100, ByHost: a}},
		{source{args: []string{"--hub-rate=a.example=600", "--hub-rate=50"}}, config.HubRates{PerMinute: 50, ByHost: a}},
		{source{env: map[string]string{"MOORING_HUB_RATE": "50, a.example=600, ::1=0"}}, config.HubRates{PerMinute: 50, ByHost: map[string]int{"a.example": 600, "::1": 0}}},
		{source{file: "hub-rate: 7\n"}, config.HubRates{PerMinute: 7}},
		{source{file: "hub-rate: [50, a.example=600]\n"}, config.HubRates{PerMinute: 50, ByHost: a}},
		{source{file: "hub-rate: [50, a.example=600]\n", args: []string{"--hub-rate=9"}}, config.HubRates{PerMinute: 9}},
	} {
		got, err := tt.source.load(t)
		if err != nil {
			t.Errorf("%+v: %v", tt.source, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got.HubRates); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.source, diff)
		}
	}
	for _, text := range []string{
		"", "fast", "-1", "1.5", "60000001", "a.example", "a.example=", "=5", "a_b=5", "a.example:443=5", "a.example=x",
		"5,6", "a.example=1,A.example=2", "5,",
	} {
		_, err := source{args: []string{"--hub-rate=" + text}}.load(t)
		if err == nil || !strings.HasPrefix(err.Error(), "--hub-rate: ") {
			t.Errorf("%q: error = %v", text, err)
		}
	}
}
