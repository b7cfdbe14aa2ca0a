package store

import (
	"errors"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"kontor/internal/fault"
)

// Conflict reports whether err is a constraint of the tables that was hit: a name
// that is taken, a reference to nothing. The transaction may go on after it.
func Conflict(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT
}

// explain turns what the database reports into a fault with a cure. Errors that
// are faults already, and such as are none of the database's, stay as they are.
func explain(err error) error {
	var f *fault.Error
	var e *sqlite.Error
	if err == nil || errors.As(err, &f) || !errors.As(err, &e) {
		return err
	}
	switch code := e.Code(); {
	case code&0xff == lib.SQLITE_FULL, code == lib.SQLITE_IOERR_SHMSIZE:
		return fault.Wrap(fault.Local, err, "the disk is full: the node's state could not be written and is as it was before", "free some space on the disk of the node's folder and try again")
	case code&0xff == lib.SQLITE_CORRUPT, code&0xff == lib.SQLITE_NOTADB:
		return damaged(err)
	case code&0xff == lib.SQLITE_BUSY, code&0xff == lib.SQLITE_LOCKED:
		return fault.Wrap(fault.Local, err, "another program has the node's state open", "close it; while a node runs, only the node may open "+File)
	case code&0xff == lib.SQLITE_IOERR, code&0xff == lib.SQLITE_READONLY, code&0xff == lib.SQLITE_CANTOPEN, code&0xff == lib.SQLITE_PERM:
		return fault.Wrap(fault.Local, err, "the node's state could not be read or written and is as it was before", "look at the disk and at who owns the files in the node's folder")
	}
	return err
}

func damaged(err error) error {
	return fault.Wrap(fault.Local, err, "the node's state is damaged", "stop the node and restore its folder from a backup")
}
