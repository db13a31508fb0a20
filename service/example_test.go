package service_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// exampleService stands in for a provisioning service, so that the examples run
// anywhere: it gives the answers in turn.
func exampleService(answers ...string) (connectionString string, opts *service.Options, stop func()) {
	i := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status, body, _ := strings.Cut(answers[i], " ")
		i++
		if status == "200+" {
			w.Header().Set("x-ms-continuation", "next")
		}
		if status == "404" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, body)
	}))
	host := strings.TrimPrefix(server.URL, "https://")
	return "HostName=" + host + ";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=Zm9vYmFy",
		&service.Options{HTTPClient: server.Client()}, server.Close
}

// An enrollment group with symmetric keys, which the service makes.
func Example() {
	connectionString, opts, stop := exampleService(
		`200 {"enrollmentGroupId":"line-7","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"cHJpbWFyeQ==","secondaryKey":"c2Vjb25kYXJ5"}},"etag":"IjEi"}`,
	)
	defer stop()

	client, err := service.NewClient(connectionString, opts) // opts may be nil
	if err != nil {
		log.Fatal(err)
	}
	group, err := client.Groups().Put(context.Background(), &wire.Enrollment{
		EnrollmentGroupID: "line-7",
		Attestation:       &wire.Attestation{Type: "symmetricKey"},
		InitialTwin:       []byte(`{"tags":{"site":"hall 3"}}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(group.EnrollmentGroupID, group.Attestation.SymmetricKey.PrimaryKey)
	// Output: line-7 cHJpbWFyeQ==
}

// Read, change, and write back: when someone else was faster, the service says so.
func ExampleEnrollments_Put() {
	connectionString, opts, stop := exampleService(
		`200 {"registrationId":"sensor-7","attestation":{"type":"symmetricKey"},"etag":"IjEi","provisioningStatus":"enabled"}`,
		`200 {"registrationId":"sensor-7","attestation":{"type":"symmetricKey"},"etag":"IjIi","provisioningStatus":"disabled"}`)
	defer stop()
	client, err := service.NewClient(connectionString, opts)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	e, err := client.Enrollments().Get(ctx, "sensor-7")
	if err != nil {
		log.Fatal(err)
	}
	e.ProvisioningStatus = wire.StringValue("disabled")
	e, err = client.Enrollments().Put(ctx, e) // e.ETag is the version that is replaced
	if service.IsPreconditionFailed(err) {
		log.Fatal("changed meanwhile: read it again")
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.RegistrationID, "is", e.ProvisioningStatus.Value)
	// Output: sensor-7 is disabled
}

// All records of a query; pages are asked for as they are needed.
func ExampleEnrollments_Query() {
	connectionString, opts, stop := exampleService(`200+ [{"registrationId":"a"},{"registrationId":"b"}]`, `200 [{"registrationId":"c"}]`)
	defer stop()
	client, err := service.NewClient(connectionString, opts)
	if err != nil {
		log.Fatal(err)
	}

	query := service.Query{Text: "SELECT * WHERE initialTwin.tags.site = 'hall 3'", PageSize: 100}
	for e, err := range client.Enrollments().Query(context.Background(), query) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.RegistrationID)
	}
	// Output:
	// a
	// b
	// c
}

// Some records of a bulk operation may be refused while the others are done.
func ExampleEnrollments_Bulk() {
	connectionString, opts, stop := exampleService(
		`200 {"errors":[{"registrationId":"b","errorCode":409201,"errorStatus":"Enrollment already exists."}],"isSuccessful":false}`,
	)
	defer stop()
	client, err := service.NewClient(connectionString, opts)
	if err != nil {
		log.Fatal(err)
	}

	key := &wire.Attestation{Type: "symmetricKey"}
	err = client.Enrollments().Bulk(context.Background(), wire.BulkCreate, []*wire.Enrollment{
		{RegistrationID: "a", Attestation: key},
		{RegistrationID: "b", Attestation: key},
	})
	if bulk, ok := errors.AsType[*service.BulkError](err); ok {
		for _, item := range bulk.Items {
			fmt.Println(item.ID, service.IsConflict(item))
		}
	}
	// Output: b true
}

// What the service refuses is a *service.Error.
func ExampleError() {
	connectionString, opts, stop := exampleService(`404 {"errorCode":404202,"trackingId":"9fecada7","message":"Registration not found."}`)
	defer stop()
	client, err := service.NewClient(connectionString, opts)
	if err != nil {
		log.Fatal(err)
	}

	_, err = client.Registrations().Get(context.Background(), "ghost")
	fmt.Println(service.IsNotFound(err))
	if refusal, ok := errors.AsType[*service.Error](err); ok {
		fmt.Println(refusal.Code, refusal.TrackingID)
	}
	// Output:
	// true
	// 404202 9fecada7
}

// The control plane of Mooring takes the resource ID and the token that
// 'mooring info --json' prints.
func ExampleDecisions_All() {
	connectionString, opts, stop := exampleService(`200 {"value":[{"registrationId":"sensor-7","count":3,"reason":"leaf-expired",
		"summary":"The device's certificate has expired.","remedy":"issue the certificate anew"}],"dropped":0}`)
	defer stop()

	client, err := service.NewClient(connectionString, opts)
	if err != nil {
		log.Fatal(err)
	}
	for d, err := range client.Decisions().All(context.Background(), service.DecisionFilter{EnrollmentGroupID: "line-7"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.RegistrationID, d.Count, d.Summary, d.Remedy)
	}
	// Output: sensor-7 3 The device's certificate has expired. issue the certificate anew
}

func ExampleControlPlane() {
	connectionString, opts, stop := exampleService(
		`200 {"value":[{"name":"factory","properties":{"subject":"Factory Root","isVerified":true}}]}`,
	)
	defer stop()
	host, _, _ := strings.Cut(strings.TrimPrefix(connectionString, "HostName="), ";")

	const resourceID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mooring" +
		"/providers/Microsoft.Devices/provisioningServices/default"
	control, err := service.NewControlPlane(host, resourceID, service.StaticToken("token"), opts)
	if err != nil {
		log.Fatal(err)
	}
	certificates, err := control.Certificates().List(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range certificates {
		fmt.Println(c.Name, c.Properties.Subject, c.Properties.IsVerified)
	}
	// Output: factory Factory Root true
}
