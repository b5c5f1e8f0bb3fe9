// Checks checkpoints and proofs of identity_pgx with Go's own transparency-log packages, and that none of them survives the change of a
// single bit:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run tests/independent/proofs.go tests/independent/flips.go FILE
//
// FILE is what the example `proofs` of crates/core writes. Signatures and names of keys are the business of package note, trees
// that of package tlog. What stands around them (the lines of C2SP tlog-proof and tlog-checkpoint, which the packages do not know) is
// read here, written from docs/spec alone. Both packages decode base 64 leniently: here every text must be the one its writer writes.
//
// With IDENTITY_LONG in the environment every bit of every proof of a small tree is changed, and those of more proofs of the large one;
// README.md says which.
//
// Exit: 0 all as it should be, 1 something is not, 2 could not check.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
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

// checker knows the checkpoints; once they are read, nothing in it changes.
type checker struct {
	origin      string
	known       note.Verifiers
	good        map[string]checkpoint // notes that were opened: most proofs share theirs
	checkpoints map[int64]checkpoint
	long        bool
}

type counts map[string]int

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

// tlogProof is a C2SP tlog-proof of a leaf whose salt is the extra data.
type tlogProof struct {
	salt       []byte
	index      int64
	path       tlog.RecordProof
	checkpoint string
}

func (p *tlogProof) leaf(text string) tlog.Hash {
	return tlog.RecordHash(append(append([]byte{}, p.salt...), text...))
}

func parse(proof string) (p tlogProof, err error) {
	split := strings.SplitN(proof, "\n\n", 2)
	if len(split) != 2 {
		return p, errRefused
	}
	p.checkpoint = split[1]
	lines := strings.Split(split[0], "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return p, errRefused
	}
	p.salt, err = base64.StdEncoding.Strict().DecodeString(lines[1][6:])
	if err != nil || len(p.salt) != 16 || base64.StdEncoding.EncodeToString(p.salt) != lines[1][6:] {
		return p, errRefused
	}
	p.index, err = strconv.ParseInt(lines[2][6:], 10, 64)
	if err != nil || strconv.FormatInt(p.index, 10) != lines[2][6:] {
		return p, errRefused
	}
	for _, text := range lines[3:] {
		sibling, err := hash(text)
		if err != nil {
			return p, err
		}
		p.path = append(p.path, sibling)
	}
	return p, nil
}

func (c *checker) inclusion(leaf, proof string) error {
	p, err := parse(proof)
	if err != nil {
		return err
	}
	head, err := c.open(p.checkpoint)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(p.path, head.size, head.root, p.index, p.leaf(leaf))
}

func (c *checker) check(n counts, l *line) error {
	n[l.Kind+", accepted"]++
	switch l.Kind {
	case "checkpoint":
		return c.checkpoint(n, l)
	case "inclusion":
		return c.checkInclusion(n, l)
	case "consistency":
		return c.checkConsistency(n, l)
	case "key", "row", "unsigned": // the last two are a format of our own: proofs.py
		return nil
	}
	return fmt.Errorf("unknown kind %q", l.Kind)
}

// read calls take with each line of the file and its number.
func read(name string, take func(int, []byte) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		if err := take(number, lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return lines.Err()
}

// learn opens the checkpoints.
func (c *checker) learn(_ int, text []byte) error {
	var l line
	if !bytes.Contains(text, []byte(`"kind":"checkpoint"`)) && !bytes.Contains(text, []byte(`"kind":"key"`)) {
		return nil
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	if l.Kind == "key" {
		verifier, err := note.NewVerifier(l.Vkey)
		if err != nil {
			return err
		}
		c.origin, c.known = verifier.Name(), note.VerifierList(verifier)
		return nil
	}
	head, err := c.open(l.Note)
	if err != nil {
		return err
	}
	if head.size != l.Size {
		return errRefused
	}
	c.good[l.Note], c.checkpoints[l.Size] = head, head
	return nil
}

// share checks every of-th line, beginning with the which-th.
func (c *checker) share(name string, which, of int) (counts, error) {
	n := counts{}
	return n, read(name, func(number int, text []byte) error {
		if number%of != which {
			return nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return err
		}
		return c.check(n, &l)
	})
}

func run(name string) error {
	c := checker{good: map[string]checkpoint{}, checkpoints: map[int64]checkpoint{}, long: os.Getenv("IDENTITY_LONG") != ""}
	if err := read(name, c.learn); err != nil {
		return err
	}
	type result struct {
		counts
		error
	}
	workers := runtime.NumCPU()
	results := make(chan result)
	for which := 0; which < workers; which++ {
		go func(which int) {
			n, err := c.share(name, which, workers)
			results <- result{n, err}
		}(which)
	}
	all := counts{}
	for which := 0; which < workers; which++ {
		one := <-results
		if one.error != nil {
			return one.error
		}
		for what, n := range one.counts {
			all[what] += n
		}
	}
	for kind, least := range map[string]int{"checkpoint": small + 1, "inclusion": 45_150 + 4000, "consistency": 45_150 + 2000} {
		if all[kind+", accepted"] < least {
			return fmt.Errorf("only %d of kind %s", all[kind+", accepted"], kind)
		}
	}
	for _, kind := range []string{"checkpoint", "inclusion", "consistency"} {
		fmt.Printf("Go: %-11s %6d accepted, %9d with one bit changed refused\n", kind, all[kind+", accepted"], all[kind])
	}
	fmt.Printf("Go: %9d texts of inclusion proofs with one bit changed refused\n", all["text of a proof"])
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: proofs FILE")
		os.Exit(2)
	}
	if _, err := os.Stat(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
