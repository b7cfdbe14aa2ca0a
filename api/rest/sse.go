package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxEvent bounds one event of a stream in a reader's memory.
const maxEvent = 4 << 20

// appendEvent appends e as a server-sent event: id, event, and one data line, as
// JSON has no raw line ends once compacted.
func appendEvent(b []byte, e Event) []byte {
	data := &bytes.Buffer{}
	if json.Compact(data, e.Data) != nil {
		data.Reset()
		data.WriteString("null")
	}
	b = fmt.Appendf(b, "id: %d\nevent: %s\ndata: ", e.Seq, e.Type)
	b = append(b, bytes.ReplaceAll(data.Bytes(), []byte{'\r'}, nil)...)
	return append(b, "\n\n"...)
}

var errEvent = errors.New("malformed event stream")

// eventReader reads events from a stream. Lines end in LF or CRLF; comments and
// fields it does not know are passed over.
type eventReader struct {
	r *bufio.Reader
}

func newEventReader(r io.Reader) *eventReader { return &eventReader{bufio.NewReaderSize(r, 16<<10)} }

// next returns the next event; io.EOF at the end of the stream, where an event
// that is not complete is dropped as the standard has it.
func (d *eventReader) next() (Event, error) {
	var e Event
	var data []byte
	has, size := false, 0
	for {
		line, err := d.line(maxEvent - size)
		if err != nil {
			return Event{}, err
		}
		size += len(line)
		if len(line) == 0 {
			if !has {
				e, data, size = Event{}, nil, 0
				continue
			}
			if !json.Valid(data) {
				return Event{}, fmt.Errorf("%w: data is not JSON", errEvent)
			}
			e.Data = data
			return e, nil
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "id":
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 {
				return Event{}, fmt.Errorf("%w: id is no number", errEvent)
			}
			e.Seq = n
		case "event":
			e.Type = string(value)
		case "data":
			if has {
				data = append(data, '\n')
			}
			data, has = append(data, value...), true
		}
	}
}

// line returns the next line without its end, up to limit bytes.
func (d *eventReader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := d.r.ReadSlice('\n')
		if len(line)+len(part) > limit+2 {
			return nil, fmt.Errorf("%w: an event of more than %d bytes", errEvent, maxEvent)
		}
		line = append(line, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
	}
}
