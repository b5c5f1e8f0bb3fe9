// Checks checkpoints and proofs of identity_pgx with Go's own transparency-log packages, and that none of them survives the change of a
// single bit:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run tests/independent/proofs.go FILE
//
// FILE is what the example `proofs` of crates/core writes. Signatures and names of keys are the business of package note, trees
// that of package tlog. What stands around them (the lines of C2SP tlog-proof and tlog-checkpoint, which the packages do not know) is
// read here, written from docs/spec alone. Both packages decode base 64 leniently: here every text must be the one its writer writes.
//
// Exit: 0 all as it should be, 1 something is not, 2 could not check.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type line struct {
	Kind, Vkey, Note, Leaf string
	Proof                  json.RawMessage
	Size, Index, Old, New  int64
	Path                   []string
}

type checkpoint struct {
	size int64
	root tlog.Hash
}

type checker struct {
	origin      string
	known       note.Verifiers
	good        map[string]checkpoint // notes that were opened: most proofs share theirs
	checkpoints map[int64]checkpoint
	counts      map[string]int
}

var errRefused = errors.New("refused")

// open believes a signed checkpoint.
func (c *checker) open(text string) (checkpoint, error) {
	if known, ok := c.good[text]; ok {
		return known, nil
	}
	opened, err := note.Open([]byte(text), c.known)
	if err != nil {
		return checkpoint{}, err
	}
	for _, signature := range opened.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(signature.Base64); err != nil {
			return checkpoint{}, err
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != c.origin {
		return checkpoint{}, errRefused
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, errRefused
	}
	root, err := hash(lines[2])
	return checkpoint{size, root}, err
}

func hash(text string) (tlog.Hash, error) {
	parsed, err := tlog.ParseHash(text)
	if err == nil && parsed.String() != text {
		err = errRefused
	}
	return parsed, err
}

// inclusion believes a C2SP tlog-proof of a leaf whose salt is the extra data.
func (c *checker) inclusion(leaf, proof string) error {
	split := strings.SplitN(proof, "\n\n", 2)
	if len(split) != 2 {
		return errRefused
	}
	lines := strings.Split(split[0], "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return errRefused
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(lines[1][6:])
	if err != nil || len(salt) != 16 || base64.StdEncoding.EncodeToString(salt) != lines[1][6:] {
		return errRefused
	}
	index, err := strconv.ParseInt(lines[2][6:], 10, 64)
	if err != nil || strconv.FormatInt(index, 10) != lines[2][6:] {
		return errRefused
	}
	path := tlog.RecordProof{}
	for _, text := range lines[3:] {
		sibling, err := hash(text)
		if err != nil {
			return err
		}
		path = append(path, sibling)
	}
	head, err := c.open(split[1])
	if err != nil {
		return err
	}
	record := append(salt, leaf...)
	return tlog.CheckRecord(path, head.size, head.root, index, tlog.RecordHash(record))
}

// flips calls accept with one bit changed at a time, every step-th of them; that it accepts is a failure.
func (c *checker) flips(what string, text []byte, step int, accept func([]byte) error) error {
	changed := append([]byte{}, text...)
	for at := 0; at < 8*len(text); at += step {
		changed[at/8] ^= 1 << (at % 8)
		if accept(changed) == nil {
			return fmt.Errorf("%s: accepted with bit %d changed: %q", what, at, changed)
		}
		changed[at/8] ^= 1 << (at % 8)
		c.counts[what+", one bit changed, refused"]++
	}
	return nil
}

// thorough says of which trees every bit of the checkpoint is changed: all small ones, and those beside powers of two.
func thorough(size int64) bool {
	near := func(n int64) bool { return n&(n-1) == 0 }
	return size <= 8 || size >= 299 || near(size-1) || near(size) || near(size+1)
}

func (c *checker) check(l *line) error {
	c.counts[l.Kind+", accepted"]++
	switch l.Kind {
	case "key":
		verifier, err := note.NewVerifier(l.Vkey)
		if err != nil {
			return err
		}
		c.origin, c.known = verifier.Name(), note.VerifierList(verifier)
		return nil
	case "checkpoint":
		head, err := c.open(l.Note)
		if err != nil {
			return err
		}
		if head.size != l.Size {
			return errRefused
		}
		c.good[l.Note], c.checkpoints[l.Size] = head, head
		step := 61
		if thorough(l.Size) {
			step = 1
		}
		return c.flips(l.Kind, []byte(l.Note), step, func(changed []byte) error {
			_, err := c.open(string(changed))
			return err
		})
	case "inclusion":
		var proof string
		if err := json.Unmarshal(l.Proof, &proof); err != nil {
			return err
		}
		if err := c.inclusion(l.Leaf, proof); err != nil {
			return err
		}
		// The checkpoint in it is the one whose bits were changed above. Together with the proof, for the smallest trees only.
		rest := strings.Index(proof, "\n\n") + 1
		if l.Size <= 4 {
			rest = len(proof)
		}
		step := 1009
		if l.Size <= 8 || l.Size > 300 || l.Index == l.Size/3 {
			step = 1
		}
		return c.flips(l.Kind, []byte(proof[:rest]), step, func(changed []byte) error {
			return c.inclusion(l.Leaf, string(changed)+proof[rest:])
		})
	case "consistency":
		older, newer := c.checkpoints[l.Old], c.checkpoints[l.New]
		path, err := hex.DecodeString(strings.Join(l.Path, ""))
		if err != nil || len(path)%tlog.HashSize != 0 {
			return errRefused
		}
		consistent := func(path []byte) error {
			hashes := tlog.TreeProof{}
			for ; len(path) > 0; path = path[tlog.HashSize:] {
				var one tlog.Hash
				copy(one[:], path)
				hashes = append(hashes, one)
			}
			return tlog.CheckTree(hashes, newer.size, newer.root, older.size, older.root)
		}
		if err := consistent(path); err != nil {
			return err
		}
		step := 257
		if l.New <= 8 || l.New > 300 || l.Old == l.New/3+1 {
			step = 1
		}
		return c.flips(l.Kind, path, step, consistent)
	case "row", "unsigned": // a format of our own: proofs.py
		delete(c.counts, l.Kind+", accepted")
		return nil
	}
	return fmt.Errorf("unknown kind %q", l.Kind)
}

func run(file io.Reader) error {
	c := checker{good: map[string]checkpoint{}, checkpoints: map[int64]checkpoint{}, counts: map[string]int{}}
	decoder := json.NewDecoder(bufio.NewReader(file))
	for number := 1; decoder.More(); number++ {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := c.check(&l); err != nil {
			return fmt.Errorf("line %d, %s: %w", number, l.Kind, err)
		}
	}
	for _, kind := range []string{"checkpoint", "inclusion", "consistency"} {
		accepted, refused := c.counts[kind+", accepted"], c.counts[kind+", one bit changed, refused"]
		if accepted < 300 || refused < 300 {
			return fmt.Errorf("only %d of kind %s", accepted, kind)
		}
		fmt.Printf("Go: %-11s %6d accepted, %7d with one bit changed refused\n", kind, accepted, refused)
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: proofs FILE")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := run(file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
