package table

import (
	"fmt"
	"slices"
)

// Type is the type of a column.
type Type int

// The types. Every one of them has room for a missing value.
const (
	Int    Type = iota + 1 // int64
	Float                  // float64; NaN is the missing value, infinities are values
	String                 // UTF-8 text
	Bool
	Time // an instant, UTC, in whole microseconds
)

var typeNames = [...]string{Int: "int", Float: "float", String: "string", Bool: "bool", Time: "time"}

// String returns the name used in job files and error texts.
func (t Type) String() string {
	if t < Int || t > Time {
		return fmt.Sprintf("type(%d)", int(t))
	}
	return typeNames[t]
}

// ParseType is the inverse of [Type.String].
func ParseType(s string) (Type, error) {
	for t := Int; t <= Time; t++ {
		if typeNames[t] == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%q is not a column type; use int, float, string, bool or time", s)
}

// Field names and types one column.
type Field struct {
	Name string
	Type Type
}

// Schema lists the columns of a table in order.
type Schema []Field

// Names returns the names in order.
func (s Schema) Names() []string {
	names := make([]string, len(s))
	for i, f := range s {
		names[i] = f.Name
	}
	return names
}

// Equal reports whether both have the same names and types in the same order.
func (s Schema) Equal(t Schema) bool { return slices.Equal(s, t) }

// check refuses what no file format of ours can hold.
func (s Schema) check() error {
	if len(s) == 0 {
		return fmt.Errorf("%w: it has no columns", ErrSchema)
	}
	seen := make(map[string]bool, len(s))
	for i, f := range s {
		switch {
		case f.Name == "":
			return fmt.Errorf("%w: column %d has no name", ErrSchema, i+1)
		case seen[f.Name]:
			return fmt.Errorf("%w: two columns are named %q", ErrSchema, f.Name)
		case f.Type < Int || f.Type > Time:
			return fmt.Errorf("%w: column %q has no valid type", ErrSchema, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}
