// Lists every field of the kinds of the Kubernetes API that rrun reads, one path a line. A list has
// [] behind it; what is a map, a quantity, a time or raw bytes has no fields of its own. What has a
// type that is listed at another path already refers to that: "Job.spec.template.spec = Pod.spec".
//
//	go run . > fields.txt
package main

import (
	"fmt"
	"reflect"
	"strings"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
)

// In the order in which they are listed.
var kinds = []any{
	core.Pod{},
	core.ConfigMap{},
	core.Secret{},
	core.PersistentVolume{},
	core.PersistentVolumeClaim{},
	core.Service{},
	core.ServiceAccount{},
	core.ReplicationController{},
	apps.Deployment{},
	apps.ReplicaSet{},
	apps.StatefulSet{},
	apps.DaemonSet{},
	batch.Job{},
	batch.CronJob{},
}

// Types that several kinds have, and where their fields are listed.
var shared = map[reflect.Type]string{
	reflect.TypeOf(core.PodSpec{}):  "Pod.spec",
	reflect.TypeOf(batch.JobSpec{}): "Job.spec",
}

func main() {
	fmt.Println("# Every field of the kinds that rrun reads, at k8s.io/api v0.36.2, made by main.go beside it.")
	fmt.Println("# [] is a list; what is behind = has the same fields.")
	for _, kind := range kinds {
		t := reflect.TypeOf(kind)
		walk(t.Name(), t)
	}
}

func walk(path string, t reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" && field.Anonymous {
			walk(path, field.Type)
			continue
		}
		below(path+"."+name, field.Type)
	}
}

func below(path string, t reflect.Type) {
	listed, isShared := shared[t]
	switch {
	case t.Kind() == reflect.Pointer:
		below(path, t.Elem())
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		below(path+"[]", t.Elem())
	case isShared && path != listed:
		fmt.Println(path, "=", listed)
	case strings.HasSuffix(path, ".status") || !isObject(t):
		fmt.Println(path)
	default:
		walk(path, t)
	}
}

func isObject(t reflect.Type) bool {
	switch t.String() {
	case "resource.Quantity", "v1.Time", "v1.MicroTime", "intstr.IntOrString", "v1.FieldsV1":
		return false
	}
	return t.Kind() == reflect.Struct
}
