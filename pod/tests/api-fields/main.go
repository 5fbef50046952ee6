// Lists every field of the Pod, ConfigMap and Secret of the Kubernetes API, one path a line.
// A list has [] behind it; what is a map, a quantity, a time or raw bytes has no fields of its own.
//
//	go run . > fields.txt
package main

import (
	"fmt"
	"reflect"
	"strings"

	core "k8s.io/api/core/v1"
)

func main() {
	fmt.Println("# Every field of Pod, ConfigMap and Secret of core/v1 at k8s.io/api v0.36.2, made by")
	fmt.Println("# main.go beside it. [] is a list.")
	walk("Pod", reflect.TypeOf(core.Pod{}), 0)
	walk("ConfigMap", reflect.TypeOf(core.ConfigMap{}), 0)
	walk("Secret", reflect.TypeOf(core.Secret{}), 0)
}

func walk(path string, t reflect.Type, depth int) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" && field.Anonymous {
			walk(path, field.Type, depth)
			continue
		}
		below(path+"."+name, field.Type, depth+1)
	}
}

func below(path string, t reflect.Type, depth int) {
	switch {
	case t.Kind() == reflect.Pointer:
		below(path, t.Elem(), depth)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		below(path+"[]", t.Elem(), depth)
	case path == "Pod.status" || !isObject(t):
		fmt.Println(path)
	default:
		walk(path, t, depth)
	}
}

func isObject(t reflect.Type) bool {
	switch t.String() {
	case "resource.Quantity", "v1.Time", "v1.MicroTime", "intstr.IntOrString", "v1.FieldsV1":
		return false
	}
	return t.Kind() == reflect.Struct
}
