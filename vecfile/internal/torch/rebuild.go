package torch

import (
	"errors"
	"fmt"
	"math"
)

// callables are the functions that pickles of tensors call, as what they come to.
var callables = map[class]func(m *machine, arguments Tuple) (any, error){
	{"torch._utils", "_rebuild_tensor_v2"}: rebuildTensor,
	{"torch._utils", "_rebuild_tensor"}:    rebuildTensor,
	{"torch._utils", "_rebuild_parameter"}: rebuildParameter,
	{"torch.storage", "_load_from_bytes"}:  loadFromBytes,
	{"collections", "OrderedDict"}:         orderedDict,
	{"torch", "Size"}:                      func(_ *machine, arguments Tuple) (any, error) { return one(arguments) },
}

// records are the classes of which attributes are rebuilt.
var records = map[class]bool{
	{"steering_vectors.steering_vector", "SteeringVector"}: true,
}

func (c class) allowed() bool {
	_, isStorage := kinds[c.name]
	return callables[c] != nil || records[c] || c.module == "torch" && isStorage
}

// rebuild is what a call comes to.
func (m *machine) rebuild(callee, arguments any) (any, error) {
	c, isClass := callee.(class)
	values, isTuple := arguments.(Tuple)
	if !isClass || !isTuple {
		return nil, fmt.Errorf("%s is called with %s", Describe(callee), Describe(arguments))
	}
	call := callables[c]
	if call == nil {
		return nil, fmt.Errorf("class %q is not one that is called", c)
	}
	value, err := call(m, values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return value, nil
}

// rebuildTensor takes (storage, offset, shape, strides) and what of a tensor is
// not its numbers.
func rebuildTensor(_ *machine, arguments Tuple) (any, error) {
	if len(arguments) < 4 {
		return nil, fmt.Errorf("it is called with %d arguments", len(arguments))
	}
	from, isStorage := arguments[0].(*storage)
	offset, isNumber := arguments[1].(int64)
	shape, isShape := whole(arguments[2])
	stride, isStride := whole(arguments[3])
	if !isStorage || from == nil || !isNumber || !isShape || !isStride || offset > math.MaxInt/2 {
		return nil, fmt.Errorf("it is called with %s, %s, %s, %s", Describe(arguments[0]), Describe(arguments[1]), Describe(arguments[2]), Describe(arguments[3]))
	}
	return newTensor(from, int(offset), shape, stride)
}

// whole returns the whole numbers of a tuple.
func whole(value any) ([]int, bool) {
	values, ok := value.(Tuple)
	out := make([]int, len(values))
	for i, v := range values {
		n, is := v.(int64)
		if !is || n > math.MaxInt32 || n < math.MinInt32 {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, ok
}

// rebuildParameter takes (tensor, whether it has a gradient, hooks).
func rebuildParameter(_ *machine, arguments Tuple) (any, error) {
	if len(arguments) > 0 {
		if t, ok := arguments[0].(*Tensor); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("it is called with %s", Describe(arguments))
}

// loadFromBytes takes the bytes of a file of the older kind that holds one
// storage: so tensors are pickled outside of torch.save.
func loadFromBytes(m *machine, arguments Tuple) (any, error) {
	value, err := one(arguments)
	if err != nil {
		return nil, err
	}
	data, ok := value.([]byte)
	if !ok {
		return nil, fmt.Errorf("it is called with %s", Describe(value))
	}
	if m.file == nil {
		return nil, errors.New("it is called inside of itself")
	}
	// Each file is inside once, so that together they are no longer than the pickle.
	if m.nested -= len(data); m.nested < 0 {
		return nil, errors.New("it is called with the same bytes many times")
	}
	value, err = m.file(data)
	if err != nil {
		return nil, err
	}
	if s, ok := value.(*storage); ok {
		return s, nil
	}
	return nil, fmt.Errorf("the bytes hold %s", Describe(value))
}

// orderedDict makes a dictionary; its items follow, or are given as a list of
// pairs.
func orderedDict(_ *machine, arguments Tuple) (any, error) {
	dict := &Dict{}
	if len(arguments) == 0 {
		return dict, nil
	}
	value, err := one(arguments)
	if err != nil {
		return nil, err
	}
	list, ok := value.(*List)
	if !ok {
		return nil, fmt.Errorf("it is made of %s", Describe(value))
	}
	for _, item := range list.Items {
		pair := pairOf(item)
		if pair == nil {
			return nil, fmt.Errorf("it is made of %s", Describe(item))
		}
		if err := dict.set(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return dict, nil
}

func pairOf(item any) []any {
	switch v := item.(type) {
	case Tuple:
		if len(v) == 2 {
			return v
		}
	case *List:
		if len(v.Items) == 2 {
			return v.Items
		}
	}
	return nil
}

func one(arguments Tuple) (any, error) {
	if len(arguments) != 1 {
		return nil, fmt.Errorf("it is called with %d arguments", len(arguments))
	}
	return arguments[0], nil
}

// newObject makes an object without attributes.
func newObject(of, arguments any) (any, error) {
	c, ok := of.(class)
	if !ok || !records[c] {
		return nil, fmt.Errorf("an object is made of %s", Describe(of))
	}
	if values, ok := arguments.(Tuple); !ok || len(values) > 0 {
		return nil, fmt.Errorf("a %s is made with %s", c, Describe(arguments))
	}
	return &Object{Class: c.String(), Attributes: &Dict{}}, nil
}

// build sets the attributes of an object. Those of a dictionary are not its items,
// and are left out.
func build(of, state any) error {
	attributes, ok := state.(*Dict)
	if !ok {
		return fmt.Errorf("the attributes of %s are %s", Describe(of), Describe(state))
	}
	switch o := of.(type) {
	case *Dict:
		return nil
	case *Object:
		for i, key := range attributes.Keys {
			if err := o.Attributes.set(key, attributes.Values[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("attributes are set of %s", Describe(of))
}
