package catalog

import (
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// fold maps texts that differ only in case to one text. Upper case first, since several lower-case letters
// may share one upper-case letter (σ and ς are both Σ).
func fold(text string) string { return strings.ToLower(strings.ToUpper(text)) }

// searchText is what a search looks through. The line break keeps a word from spanning name and description.
func searchText(name, description string) string { return fold(name + "\n" + description) }

var likeWildcards = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// contains is the LIKE pattern, whose escape is a backslash, of the texts that contain word.
func contains(word string) string { return "%" + likeWildcards.Replace(word) + "%" }

const longestSlug = 200 // characters, of one made from a name

var (
	validSlug = regexp.MustCompile(`^[-a-zA-Z0-9_]*$`)
	notInSlug = regexp.MustCompile(`[^a-z0-9]+`)
	accents   = regexp.MustCompile(`\p{M}+`)
)

// slugOf makes the part of a URL that stands for a name: "Café & Bar" is cafe-bar. A name with no Latin
// letter or digit gives "category".
func slugOf(name string) string {
	plain := accents.ReplaceAllString(norm.NFKD.String(name), "")
	slug := notInSlug.ReplaceAllString(strings.ToLower(plain), "-")
	if len(slug) > longestSlug {
		slug = slug[:longestSlug]
	}
	if slug = strings.Trim(slug, "-"); slug == "" {
		return "category"
	}
	return slug
}
