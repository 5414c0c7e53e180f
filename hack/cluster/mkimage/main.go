// Command mkimage packs files into a one-layer OCI image archive, as
// `ctr images import` takes it: no registry, no daemon, no build container.
//
//	mkimage -o out.tar -t localhost/app:1 -entrypoint /app -user 65532:65532 ./app:/app
//	mkimage -o db.tar -t localhost/db:1 -cmd db -dir /data:700:999:999 ./rootfs:/
//
// Each SRC:DST names a file, or a folder that is taken with all in it. Times are
// zeroed, so the same content gives the same digest.
package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	configType   = "application/vnd.oci.image.config.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// image is what the flags describe.
type image struct {
	reference, user string
	env, dirs       list
	entrypoint, cmd list
	sources         []string
}

func main() {
	var img image
	out := flag.String("o", "", "archive to write")
	flag.StringVar(&img.reference, "t", "", "reference of the image, such as localhost/app:1")
	flag.StringVar(&img.user, "user", "", "UID:GID the image runs as")
	flag.Var(&img.env, "env", "KEY=VALUE (repeatable)")
	flag.Var(&img.dirs, "dir", "PATH:MODE:UID:GID of an empty folder (repeatable)")
	flag.Var(&img.entrypoint, "entrypoint", "one word of the entrypoint (repeatable)")
	flag.Var(&img.cmd, "cmd", "one word of the default arguments (repeatable)")
	flag.Parse()
	img.sources = flag.Args()
	if *out == "" || img.reference == "" {
		log.Fatal("mkimage: -o and -t are required")
	}
	if err := img.write(*out); err != nil {
		log.Fatalf("mkimage: %s: %v", img.reference, err)
	}
}

// write makes the archive under another name first, so that a file named out
// is always whole.
func (img *image) write(out string) error {
	layer, err := os.CreateTemp(filepath.Dir(out), "layer-")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	l := newLayer(layer)
	if err := l.fill(img.dirs, img.sources); err != nil {
		return err
	}
	archive, err := os.Create(out + ".tmp")
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := img.assemble(archive, layer, l.digest.Sum(nil)); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return os.Rename(out+".tmp", out)
}

// layer is a tar of the image's files; parents of a path are made as needed and
// no path is written twice.
type layer struct {
	tar     *tar.Writer
	digest  hash.Hash
	written map[string]bool
}

func newLayer(w io.Writer) *layer {
	digest := sha256.New()
	return &layer{tar: tar.NewWriter(io.MultiWriter(w, digest)), digest: digest, written: map[string]bool{"": true}}
}

func (l *layer) fill(dirs, sources []string) error {
	for _, d := range append([]string{"/tmp:1777:0:0"}, dirs...) {
		if err := l.addDir(d); err != nil {
			return fmt.Errorf("folder %s: %w", d, err)
		}
	}
	for _, s := range sources {
		src, dst, ok := strings.Cut(s, ":")
		if !ok {
			return fmt.Errorf("%q is not SRC:DST", s)
		}
		err := filepath.WalkDir(src, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return l.addFile(p, path.Join(dst, strings.TrimPrefix(p, src)))
		})
		if err != nil {
			return err
		}
	}
	return l.tar.Close()
}

// addDir adds an empty folder, described as PATH:MODE:UID:GID.
func (l *layer) addDir(description string) error {
	f := strings.Split(description, ":")
	if len(f) != 4 {
		return fmt.Errorf("want PATH:MODE:UID:GID")
	}
	var n [3]int64
	for i, base := range []int{8, 10, 10} {
		var err error
		if n[i], err = strconv.ParseInt(f[i+1], base, 32); err != nil {
			return err
		}
	}
	return l.put(&tar.Header{Typeflag: tar.TypeDir, Name: f[0], Mode: n[0], Uid: int(n[1]), Gid: int(n[2])}, nil)
}

// addFile adds the file, folder or symbolic link src as dst.
func (l *layer) addFile(src, dst string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(src); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // devices and sockets have no place in an image
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = dst, int(stat.Uid), int(stat.Gid), "", ""
	if !info.Mode().IsRegular() {
		return l.put(header, nil)
	}
	file, err := os.Open(src)
	if err != nil {
		return err
	}
	defer file.Close()
	return l.put(header, file)
}

func (l *layer) put(header *tar.Header, content io.Reader) error {
	name := strings.Trim(header.Name, "/")
	if l.written[name] {
		return nil
	}
	if parent := strings.Trim(path.Dir("/"+name), "/"); !l.written[parent] {
		if err := l.put(&tar.Header{Typeflag: tar.TypeDir, Name: parent, Mode: 0o755}, nil); err != nil {
			return err
		}
	}
	l.written[name] = true
	header.Name, header.Format = name, tar.FormatPAX
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	if err := l.tar.WriteHeader(header); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	_, err := io.Copy(l.tar, content)
	return err
}

// descriptor points at a blob, as the OCI image specification has it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func describe(mediaType string, digest []byte, size int64) descriptor {
	return descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(digest), Size: size}
}

// assemble writes the archive: layer, config, manifest, index.
func (img *image) assemble(w io.Writer, layer *os.File, digest []byte) error {
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out := tar.NewWriter(w)
	layerBlob := describe(layerType, digest, size)
	if err := putBlob(out, layerBlob, layer); err != nil {
		return err
	}
	config, err := putJSON(out, configType, map[string]any{
		"created": "1970-01-01T00:00:00Z", "os": "linux", "architecture": runtime.GOARCH,
		"config": map[string]any{"User": img.user, "Env": img.env, "Entrypoint": img.entrypoint, "Cmd": img.cmd, "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := putJSON(out, manifestType, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{"io.containerd.image.name": img.reference}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := putFile(out, "index.json", int64(len(index)), strings.NewReader(string(index))); err != nil {
		return err
	}
	const layout = `{"imageLayoutVersion":"1.0.0"}`
	if err := putFile(out, "oci-layout", int64(len(layout)), strings.NewReader(layout)); err != nil {
		return err
	}
	return out.Close()
}

func putJSON(w *tar.Writer, mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(data)
	d := describe(mediaType, sum[:], int64(len(data)))
	return d, putBlob(w, d, strings.NewReader(string(data)))
}

func putBlob(w *tar.Writer, d descriptor, r io.Reader) error {
	return putFile(w, "blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:"), d.Size, r)
}

func putFile(w *tar.Writer, name string, size int64, r io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}
