// Package uicdosipas reads rail tickets.
package uicdosipas
