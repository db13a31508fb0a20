package register

import (
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// ask lets the webhook of a custom allocation choose the hub. It is asked at every
// registration, whatever the reprovision policy says.
func (s *Service) ask(r *run, j *job) (verdict, error) {
	pl, err := s.plan(j.question())
	if err != nil {
		return verdict{}, err
	}
	if !pl.webhook() { // another policy meanwhile
		return s.head(r, j, pl)
	}
	s.begin(j)
	answer, err := s.webhook.Ask(r.acting, s.webhookQuestion(j, pl))
	if err != nil {
		return verdict{}, err
	}
	i := slices.IndexFunc(pl.candidates, func(h dps.LinkedHub) bool { return h.HostName.Equal(answer.Hub) })
	if i < 0 {
		return verdict{}, noSuchHub(answer.Hub)
	}
	j.work.Twin, j.work.Returned, j.sub.twin = answer.Twin, answer.Payload, answer.Twin
	return s.head(r, j, pl.toward(pl.candidates[i], j.question()))
}

func noSuchHub(name dps.HostName) error {
	return dps.Errorf(
		dps.CustomAllocationFailed,
		"Custom allocation failed: the webhook chose %q, which is not in linkedHubs.",
		name,
	)
}

func (s *Service) webhookQuestion(j *job, pl plan) WebhookQuestion {
	q := WebhookQuestion{
		Enrollment: j.sub.entry, ID: j.work.ID, Attestation: j.reg.Attestation, Certificate: j.work.Certificate, Payload: j.work.Payload,
		LinkedHubs: hostNames(pl.candidates),
	}
	if h := linked(j.hubs, j.reg.Assignment); h != nil {
		q.CurrentHub, q.CurrentID = h.HostName, j.reg.Assignment.DeviceID
	}
	return q
}

// webhookSetback decides what a failed call of a webhook means.
func (s *Service) webhookSetback(r *run, j *job, err error) verdict {
	j.attempts++
	delay, more := WebhookDelay(j.attempts)
	if after, again := dps.MayRepeat(err); !again || !more || s.now().Add(max(after, delay)).Sub(j.began) > s.webhookBudget {
		return s.fail(r, j, err)
	}
	return j.at(false, delay)
}
