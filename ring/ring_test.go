package ring

import "testing"

var testPrimes = [2]uint64{1<<53 - 311295, 1<<53 - 376831}

func testSource(t testing.TB) *Source {
	s, err := NewSource(new([KeySize]byte))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
