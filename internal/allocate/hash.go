package allocate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// hashed spreads devices over hubs by weight: weighted rendezvous hashing. Each
// hub's score is -weight/ln(u) with u in (0,1) from a hash of hub and device; the
// highest wins, so a change of one hub moves only that hub's share of devices.
// Source: Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005.
func hashed(id dps.RegistrationID, hubs []dps.LinkedHub, t *trace) dps.LinkedHub {
	best, bestScore := hubs[0], math.Inf(-1)
	for _, h := range hubs {
		if s := score(id, h); s > bestScore {
			best, bestScore = h, s
		}
	}
	if t.on() {
		explainScores(id, hubs, best, t)
	}
	return best
}

func score(id dps.RegistrationID, h dps.LinkedHub) float64 {
	sum := sha256.Sum256([]byte(h.HostName.Key() + "\x00" + id.Key()))
	// 53 bits, moved by a half so that u is never 0 or 1.
	u := (float64(binary.BigEndian.Uint64(sum[:8])>>11) + 0.5) / (1 << 53)
	return -float64(h.Weight) / math.Log(u)
}

// explainScores tells the scores, highest first, and who has won by them.
func explainScores(id dps.RegistrationID, hubs []dps.LinkedHub, best dps.LinkedHub, t *trace) {
	if len(hubs) == 1 {
		t.add(StepHub, string(best.HostName)+": the only remaining candidate")
		return
	}
	ordered := slices.SortedStableFunc(slices.Values(hubs), func(a, b dps.LinkedHub) int {
		return cmp.Compare(score(id, b), score(id, a))
	})
	texts := make([]string, len(ordered))
	for i, h := range ordered {
		texts[i] = fmt.Sprintf("%s %.3f (weight %d)", h.HostName, score(id, h), h.Weight)
	}
	t.add(StepScores, strings.Join(texts, ", ")+": the weighted hash of hub and registration ID")
	t.add(StepHub, string(best.HostName)+": the highest score")
}
