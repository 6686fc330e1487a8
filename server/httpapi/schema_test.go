package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// openAPI is the document under test, as plain maps.
type openAPI struct{ root map[string]any }

func loadOpenAPI(t testing.TB) openAPI {
	t.Helper()
	var d openAPI
	if err := json.Unmarshal(document, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows a path of names, through references.
func (d openAPI) at(v any, path ...string) map[string]any {
	for {
		m, _ := v.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			v = d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			continue
		}
		if len(path) == 0 {
			return m
		}
		v, path = m[path[0]], path[1:]
	}
}

// check tells what of v does not fit a schema. It knows what the document uses
// and fails on a word that it doesn't know, so that nothing passes unchecked.
func (d openAPI) check(schema any, v any, where string) error {
	s := d.at(schema)
	if s == nil {
		return fmt.Errorf("%s: no schema", where)
	}
	for word, want := range s {
		switch word {
		case "description", "contentEncoding":
		case "type":
			ok := false
			switch v := v.(type) {
			case string:
				ok = want == "string"
			case bool:
				ok = want == "boolean"
			case float64:
				ok = want == "integer" && v == float64(int64(v))
			case []any:
				ok = want == "array"
			case map[string]any:
				ok = want == "object"
			}
			if !ok {
				return fmt.Errorf("%s: %v is no %v", where, v, want)
			}
		case "enum":
			if !slices.ContainsFunc(want.([]any), func(w any) bool { return reflect.DeepEqual(w, v) }) {
				return fmt.Errorf("%s: %v is none of %v", where, v, want)
			}
		case "const":
			if !reflect.DeepEqual(want, v) {
				return fmt.Errorf("%s: %v is not %v", where, v, want)
			}
		case "oneOf":
			fit := 0
			var errs []string
			for _, o := range want.([]any) {
				if err := d.check(o, v, where); err != nil {
					errs = append(errs, err.Error())
				} else {
					fit++
				}
			}
			if fit != 1 {
				return fmt.Errorf("%s: fits %d of oneOf: %s", where, fit, strings.Join(errs, "; "))
			}
		case "items":
			list, _ := v.([]any)
			for i, e := range list {
				if err := d.check(want, e, fmt.Sprintf("%s[%d]", where, i)); err != nil {
					return err
				}
			}
		case "required":
			m, _ := v.(map[string]any)
			for _, name := range want.([]any) {
				if _, ok := m[name.(string)]; !ok {
					return fmt.Errorf("%s: %v is missing", where, name)
				}
			}
		case "properties":
			m, _ := v.(map[string]any)
			for name, e := range m {
				if p, ok := want.(map[string]any)[name]; ok {
					if err := d.check(p, e, where+"."+name); err != nil {
						return err
					}
				} else if s["additionalProperties"] == false {
					return fmt.Errorf("%s: %s is not described", where, name)
				}
			}
		case "additionalProperties":
			if want != false {
				return fmt.Errorf("%s: additionalProperties %v", where, want)
			}
		default:
			return fmt.Errorf("%s: the check does not know %q", where, word)
		}
	}
	return nil
}

// The check itself can go red.
func TestSchemaCheckFindsFaults(t *testing.T) {
	d := loadOpenAPI(t)
	schema := func(name string) any { return map[string]any{"$ref": "#/components/schemas/" + name} }
	for _, tc := range []struct{ name, doc, want string }{
		{"Done", `{"index":1}`, ""},
		{"Done", `{"index":1.5}`, "is no integer"},
		{"Done", `{}`, "index is missing"},
		{"Done", `{"index":1,"more":2}`, "more is not described"},
		{"Error", `{"error":"x","code":"nonsense"}`, "is none of"},
		{"End", `{"end":false,"index":1,"count":0}`, "is not true"},
		{"TxnDone", `{"index":1,"results":[{"value":1}]}`, "results[0].value"},
	} {
		var v any
		if err := json.Unmarshal([]byte(tc.doc), &v); err != nil {
			t.Fatal(err)
		}
		err := d.check(schema(tc.name), v, tc.name)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s %s: %v, want %q", tc.name, tc.doc, err, tc.want)
		}
	}
}
