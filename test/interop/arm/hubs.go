package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

// Connection strings of a hub that nobody serves.
const (
	plantHub    = "plant.example"
	plantMasked = "HostName=plant.example:1;SharedAccessKeyName=iothubowner;SharedAccessKey=****"
	plantFirst  = "HostName=plant.example:1;SharedAccessKeyName=iothubowner;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="
	plantSecond = "HostName=plant.example:1;SharedAccessKeyName=iothubowner;SharedAccessKey=ZmVkY2JhOTg3NjU0MzIxMA=="
)

// relink reads the whole resource, changes its hubs, writes it, and returns the hubs
// that stand there then.
func (w *walk) relink(
	ctx context.Context,
	change func([]*arms.IotHubDefinitionDescription) []*arms.IotHubDefinitionDescription,
) ([]*arms.IotHubDefinitionDescription, error) {
	d, err := w.get(ctx)
	if err != nil {
		return nil, err
	}
	d.Properties.IotHubs = change(d.Properties.IotHubs)
	if err := w.put(ctx, d); err != nil {
		return nil, err
	}
	d, err = w.get(ctx)
	if err != nil {
		return nil, err
	}
	return d.Properties.IotHubs, nil
}

// hubs links one, changes its weight and its key, and unlinks it. Nobody answers for it:
// without a header of Mooring's own it is refused.
func (w *walk) hubs(ctx context.Context) error {
	add := func(all []*arms.IotHubDefinitionDescription) []*arms.IotHubDefinitionDescription {
		return append(all, &arms.IotHubDefinitionDescription{ConnectionString: to.Ptr(plantFirst), Location: to.Ptr("West Europe")})
	}
	_, unchecked := w.relink(ctx, add)
	skip := policy.WithHTTPHeader(ctx, http.Header{"Mooring-Skip-Check": {"true"}})
	linked, err := w.relink(skip, add)
	if err != nil || len(linked) != 2 {
		return fmt.Errorf("%d hubs: %w", len(linked), errOrNone(err))
	}
	hub := linked[1]
	err = errors.Join(
		refused("a hub that does not answer", unchecked, http.StatusBadRequest, "InvalidArgument", plantHub+" cannot be used"),
		expect(
			"name",
			hub.Name,
			plantHub,
		),
		expect("connection string", hub.ConnectionString, plantMasked),
		expect("location", hub.Location, "West Europe"),
		expect("weight", hub.AllocationWeight, 1),
		expect("applies", hub.ApplyAllocationPolicy, true),
	)
	if err != nil {
		return err
	}
	// Without the header: the masked key stays, so there is nothing to check.
	changed, err := w.relink(ctx, func(all []*arms.IotHubDefinitionDescription) []*arms.IotHubDefinitionDescription {
		all[1].AllocationWeight = to.Ptr[int32](7)
		return all
	})
	if err != nil {
		return err
	}
	_, other := w.relink(ctx, func(all []*arms.IotHubDefinitionDescription) []*arms.IotHubDefinitionDescription {
		all[1].ConnectionString = to.Ptr(plantSecond)
		return all
	})
	left, err := w.relink(ctx, func(all []*arms.IotHubDefinitionDescription) []*arms.IotHubDefinitionDescription { return all[:1] })
	if err != nil {
		return err
	}
	return errors.Join(
		expect("weight", changed[1].AllocationWeight, 7), expect("connection string", changed[1].ConnectionString, plantMasked),
		refused("another key", other, http.StatusBadRequest, "InvalidArgument", plantHub), expect("hubs left", to.Ptr(len(left)), 1),
	)
}
