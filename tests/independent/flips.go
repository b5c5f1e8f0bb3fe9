// Which bits of what are changed, one at a time, and that nothing changed is accepted.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// flips calls accept with one bit changed at a time, of those that chosen takes; that it accepts is a failure.
func (n counts) flips(what string, good []byte, chosen func(bit int) bool, accept func([]byte) error) error {
	changed := append([]byte{}, good...)
	for bit := 0; bit < 8*len(good); bit++ {
		if !chosen(bit) {
			continue
		}
		changed[bit/8] ^= 1 << (bit % 8)
		if accept(changed) == nil {
			return fmt.Errorf("%s: accepted with bit %d changed: %q", what, bit, changed)
		}
		changed[bit/8] ^= 1 << (bit % 8)
		n[what]++
	}
	return nil
}

func every(int) bool { return true }

// oneOfEachHash takes another bit in every proof.
func oneOfEachHash(proof int64) func(int) bool {
	return func(bit int) bool { return bit%256 == int(proof%256) }
}

const small, large = 300, 100_000

// corner says whether a number is a power of two or beside one.
func corner(n int64) bool {
	power := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	return power(n-1) || power(n) || power(n+1)
}

// thoroughCheckpoint, thoroughText and thoroughHashes say of which every bit is changed.
func (c *checker) thoroughCheckpoint(size int64) bool {
	return corner(size) || size == small || size == large || c.long && size < small
}

func (c *checker) thoroughText(size, place int64) bool {
	switch {
	case size <= 8 || size <= 32 && c.long:
		return true
	case size > small:
		return place%5000 == 0 || c.long && (corner(place) || place%400 == 0)
	}
	return place == size/3
}

func (c *checker) thoroughHashes(size, place int64) bool {
	switch {
	case size <= 16 || size <= small && c.long:
		return true
	case size > small:
		return corner(place) || place%2000 == 0 || c.long && place%400 == 0
	}
	return place%(size/2+1) == 1
}

func (c *checker) checkpoint(n counts, l *line) error {
	accept := func(changed []byte) error {
		_, err := c.open(string(changed))
		return err
	}
	if c.thoroughCheckpoint(l.Size) {
		return n.flips("checkpoint", []byte(l.Note), every, accept)
	}
	if l.Size > small {
		return nil
	}
	return n.flips("checkpoint", []byte(l.Note), func(bit int) bool { return bit%61 == 0 }, accept)
}

func (c *checker) checkInclusion(n counts, l *line) error {
	var proof string
	if err := json.Unmarshal(l.Proof, &proof); err != nil {
		return err
	}
	if err := c.inclusion(l.Leaf, proof); err != nil {
		return err
	}
	if c.thoroughText(l.Size, l.Index) {
		// The checkpoint in it is the one whose bits were changed above. Together with the proof, for the smallest trees only.
		rest := strings.Index(proof, "\n\n") + 1
		if l.Size <= 4 {
			rest = len(proof)
		}
		err := n.flips("text of a proof", []byte(proof[:rest]), every, func(changed []byte) error {
			return c.inclusion(l.Leaf, string(changed)+proof[rest:])
		})
		if err != nil {
			return err
		}
	}
	// The same as the packages take it: leaf, root, index, and the hashes of the path.
	p, err := parse(proof)
	if err != nil {
		return err
	}
	head := c.good[p.checkpoint]
	leaf := p.leaf(l.Leaf)
	hashes := join(append([]tlog.Hash{leaf, head.root}, p.path...))
	holds := func(changed []byte) error {
		hashes := split(changed)
		return tlog.CheckRecord(hashes[2:], head.size, hashes[1], p.index, hashes[0])
	}
	if !c.thoroughHashes(l.Size, l.Index) {
		return n.flips(l.Kind, hashes, oneOfEachHash(l.Size+l.Index), holds)
	}
	if err := n.flips(l.Kind, hashes, every, holds); err != nil {
		return err
	}
	var index [8]byte
	binary.LittleEndian.PutUint64(index[:], uint64(p.index))
	return n.flips(l.Kind, index[:], every, func(index []byte) error {
		return tlog.CheckRecord(p.path, head.size, head.root, int64(binary.LittleEndian.Uint64(index)), leaf)
	})
}

func (c *checker) checkConsistency(n counts, l *line) error {
	older, newer := c.checkpoints[l.Old], c.checkpoints[l.New]
	path, err := hex.DecodeString(strings.Join(l.Path, ""))
	if err != nil || len(path)%tlog.HashSize != 0 {
		return errRefused
	}
	consistent := func(changed []byte) error {
		hashes := split(changed)
		return tlog.CheckTree(hashes[2:], newer.size, hashes[1], older.size, hashes[0])
	}
	hashes := append(join([]tlog.Hash{older.root, newer.root}), path...)
	if err := consistent(hashes); err != nil {
		return err
	}
	chosen := every
	if !c.thoroughHashes(l.New, l.Old) {
		chosen = oneOfEachHash(l.New + l.Old)
	}
	return n.flips(l.Kind, hashes, chosen, consistent)
}

func join(hashes []tlog.Hash) (joined []byte) {
	for _, hash := range hashes {
		joined = append(joined, hash[:]...)
	}
	return joined
}

func split(joined []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(joined)/tlog.HashSize)
	for at := range hashes {
		copy(hashes[at][:], joined[at*tlog.HashSize:])
	}
	return hashes
}
