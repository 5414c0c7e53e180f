package main

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// openDocs opens the page of the API's documentation of a new shop, and returns what the browser says of it up to
// the word that it is to log.
func openDocs(t *testing.T) (b *browsed, said func(until string) []string) {
	t.Helper()
	b = &browsed{tab: openBrowser(t), api: start(t, "SHOP_DATABASE_URL=sqlite:"+t.TempDir()+"/shop.db")}
	awaitReady(t, b.api.api, 200)
	next, stop := iter.Pull2(chromedp.Console(b.tab))
	t.Cleanup(stop)
	if err := chromedp.Do(b.tab, chromedp.Navigate("http://"+b.api.api+"/api/docs/")); err != nil {
		t.Fatal(err)
	}
	return b, func(until string) (all []string) {
		for {
			message, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			if message.Text == until {
				return all
			}
			all = append(all, fmt.Sprintf("%s: %s", message.Type, message.Text))
		}
	}
}

// The page of the documentation shows every operation and sends requests from where it stands, all under a policy
// that lets it do nothing else.
func TestDocumentationInABrowser(t *testing.T) {
	b, said := openDocs(t)
	const operations = "[...document.querySelectorAll('main details')]"
	b.await(t, operations+".length > 0", "true")
	schema := want(t, 200, b.api.api, "GET", "/api/schema/", "", "")
	if shown, described := b.value(t, operations+".length"), fmt.Sprint(strings.Count(schema, `"operationId"`)); shown != described {
		t.Errorf("%s operations are shown, %s described", shown, described)
	}
	if links := b.value(t, "document.querySelectorAll('nav a').length"); links != b.value(t, operations+".length") {
		t.Errorf("%s of them have a link", links)
	}
	if display := b.value(t, "getComputedStyle(document.querySelector('.method')).display"); display != "inline-block" {
		t.Error("the page has no style of its own")
	}

	// A link opens its operation.
	b.value(t, "(location.hash = document.querySelector('nav a').hash)")
	b.await(t, "document.querySelector(document.querySelector('nav a').hash).open", "true")

	// What is tried goes to the server with the reader's token, and its answer is shown.
	token := field(t, want(t, 201, b.api.api, "POST", "/auth/api/register/", "", registration), "access")
	const list = "[...document.querySelectorAll('main details')].find((one) => one.querySelector('summary').textContent.startsWith('GET/api/products/'))"
	b.value(t, list+".querySelector('form').requestSubmit()")
	b.await(t, list+".querySelector('form + pre').textContent.includes('401')", "true")
	b.value(t, "(document.querySelector('#token').value = '"+token+"')")
	b.value(t, list+".querySelector('form').requestSubmit()")
	b.await(t, list+".querySelector('form + pre').textContent.includes('Smartphone Pro Max')", "true")

	b.value(t, "console.log('all is done')")
	for _, message := range said("all is done") {
		if !strings.Contains(message, "401") { // the browser's own words on the answer above
			t.Errorf("the browser says %s", message)
		}
	}

	// The policy is in force, and its breach would have been seen.
	b.value(t, "document.body.append(Object.assign(document.createElement('script'), {textContent: 'globalThis.injected = true'}))")
	b.value(t, "console.log('injected')")
	if breach := strings.Join(said("injected"), "\n"); !strings.Contains(breach, "Content Security Policy") || b.value(t, "globalThis.injected") != "undefined" {
		t.Errorf("an inline script is not refused: %q", breach)
	}
}
