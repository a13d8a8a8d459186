package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
)

// passphraseFlags say where a passphrase comes from: a file, or whoever sits
// there.
type passphraseFlags struct{ file string }

func (f *passphraseFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "passphrase-file", "", "file whose first line is the passphrase (default: ask for it)")
}

// ask gives the passphrase of a file that is there.
func (f *passphraseFlags) ask(sys *system, of string) (citygate.Secret, error) {
	if f.file != "" {
		return f.read(sys)
	}
	return prompt(sys, bufio.NewReader(sys.Stdin), "passphrase of "+of+": ")
}

// choose gives a new passphrase. Typed in it is asked for twice: a typing error
// would lose the key.
func (f *passphraseFlags) choose(sys *system) (citygate.Secret, error) {
	if f.file != "" {
		return f.read(sys)
	}
	in := bufio.NewReader(sys.Stdin)
	first, err := prompt(sys, in, "new passphrase: ")
	if err != nil {
		return first, err
	}
	again, err := prompt(sys, in, "the same again: ")
	if err != nil {
		return again, err
	}
	if !bytes.Equal(first.Reveal(), again.Reveal()) {
		return citygate.Secret{}, errors.New("the two passphrases differ: nothing was made")
	}
	return first, nil
}

func (f *passphraseFlags) read(sys *system) (citygate.Secret, error) {
	const most = 1 << 10
	raw, err := readBounded(sys, f.file, most)
	if err != nil {
		return citygate.Secret{}, err
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	return oneLine(line)
}

func prompt(sys *system, in *bufio.Reader, question string) (citygate.Secret, error) {
	_, _ = fmt.Fprint(sys.Stderr, question)
	restore := func() {}
	if terminal, ok := sys.Stdin.(*os.File); ok {
		restore = hideTyping(terminal)
	}
	line, err := in.ReadBytes('\n')
	restore()
	_, _ = fmt.Fprintln(sys.Stderr)
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return citygate.Secret{}, fmt.Errorf("no passphrase: %w", err)
	}
	return oneLine(bytes.TrimSuffix(line, []byte("\n")))
}

func oneLine(line []byte) (citygate.Secret, error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return citygate.Secret{}, errors.New("the passphrase is empty")
	}
	return citygate.NewSecret(line), nil
}
