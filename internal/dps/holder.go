package dps

// Takeover says whether a device may take over the hub identity of another enrollment.
type Takeover string

// The choices.
const (
	TakeoverAllow  Takeover = "allow"  // as DPS: the latest registration wins
	TakeoverRefuse Takeover = "refuse" // an enabled enrollment keeps its devices
)

// Takeovers returns every choice.
func Takeovers() []Takeover { return []Takeover{TakeoverAllow, TakeoverRefuse} }

// Holder is whom an identity at a hub belongs to: the device whose record names it,
// through the enrollment that assigned it; or an operator who created it at the hub.
type Holder struct {
	ID    RegistrationID // "" for an operator
	Entry EntryRef       // zero for an operator
}

// Operator reports whether an operator created the identity at the hub.
func (h Holder) Operator() bool { return h.ID == "" }

// Same reports whether two holders are one: spelling does not count.
func (h Holder) Same(other Holder) bool {
	return h.ID.Key() == other.ID.Key() && h.Entry.Kind == other.Entry.Kind && h.Entry.Key() == other.Entry.Key()
}

// String returns the words used in messages: "enrollment group line-7".
func (h Holder) String() string {
	if h.Operator() {
		return "an operator"
	}
	return h.Entry.String()
}

// IdentityMove is a hub identity that passes from one holder to another.
type IdentityMove struct {
	HostName HostName // of the hub
	DeviceID DeviceID
	From, To Holder
}

// String says what happened, in one sentence without a period: "identity pump-7 moved
// from enrollment group b to enrollment group a". Devices that are not called like the
// identity are named.
func (m IdentityMove) String() string { return m.sentence("moved") }

// Planned is String for what has not happened: "identity pump-7 would move ...".
func (m IdentityMove) Planned() string { return m.sentence("would move") }

func (m IdentityMove) sentence(verb string) string {
	return "identity " + string(m.DeviceID) + " " + verb + " from " + m.named(m.From) + " to " + m.named(m.To)
}

func (m IdentityMove) named(h Holder) string {
	if h.Entry.Kind == Group && (m.From.ID.Key() != m.To.ID.Key() || h.ID.Key() != RegistrationID(m.DeviceID).Key()) {
		return h.String() + " (device " + string(h.ID) + ")"
	}
	return h.String()
}
