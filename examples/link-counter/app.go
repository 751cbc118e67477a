// link-counter fetches the page that the environment variable "url" names and prints how many of its links
// stay on the page's own site (internal) and how many lead elsewhere (external).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/html"
)

// counts is what the program prints, in this order.
type counts struct {
	Internal int `json:"internal"`
	External int `json:"external"`
}

func main() {
	address := os.Getenv("url")
	if address == "" {
		fail("the environment variable \"url\" names no page")
	}
	page, err := url.Parse(address)
	if err != nil {
		fail(err.Error())
	}
	response, err := http.Get(address)
	if err != nil {
		fail(err.Error())
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fail(address + ": " + response.Status)
	}
	found, err := count(response.Body, page)
	if err != nil {
		fail(err.Error())
	}
	line, err := json.Marshal(found)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println(string(line))
}

// count reads HTML until its end. A link is an element "a" with an attribute "href".
func count(body io.Reader, page *url.URL) (counts, error) {
	var found counts
	tokens := html.NewTokenizer(body)
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if tokens.Err() == io.EOF {
				return found, nil
			}
			return found, tokens.Err()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			if href, ok := link(token); ok {
				if isInternal(href, page) {
					found.Internal++
				} else {
					found.External++
				}
			}
		}
	}
}

func link(token html.Token) (string, bool) {
	if token.Data != "a" {
		return "", false
	}
	for _, attribute := range token.Attr {
		if attribute.Key == "href" {
			return strings.TrimSpace(attribute.Val), true
		}
	}
	return "", false
}

// isInternal says whether href leads to the site of page. What cannot be read as an address leads nowhere else.
func isInternal(href string, page *url.URL) bool {
	target, err := page.Parse(href)
	return err != nil || target.Host == page.Host
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, "link-counter: "+reason)
	os.Exit(1)
}
