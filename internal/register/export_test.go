package register

// Polled returns how many devices' polls are remembered.
func (s *Service) Polled() int {
	s.polls.mu.Lock()
	defer s.polls.mu.Unlock()
	return len(s.polls.current) + len(s.polls.old)
}
