package lm

// CacheSlots returns how many slots a cached view has made memory for.
func (m *Model) CacheSlots() int {
	m.cache.Lock()
	defer m.cache.Unlock()
	return m.cache.tree.Slots()
}
