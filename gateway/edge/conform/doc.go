// Package conform holds HTTP handlers to their OpenAPI 3.1 document, in tests.
//
// [Handler] stands before a handler and fails the test for an answer whose status,
// header, media type or body the document does not have, and for a request that is
// not as the document asks and is not refused. What the document promises and the
// handler does not send is found as well: headers that are required, members of
// bodies. It does not judge whether an answer is right.
//
// A process that a test starts writes what it finds to a [File].
//
// The document is read from the handler itself, at /openapi.json. Schemas are those
// of JSON Schema 2020-12, checked by santhosh-tekuri/jsonschema.
package conform
