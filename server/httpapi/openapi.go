package httpapi

import (
	_ "embed"
	"net/http"
)

// document describes /v1 in OpenAPI 3.1.
//
//go:embed openapi.json
var document []byte

// openAPI serves the description.
func (x *exchange) openAPI() *failure {
	x.head()
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(http.StatusOK)
	_, _ = x.w.Write(document) // the client may be gone
	return nil
}
