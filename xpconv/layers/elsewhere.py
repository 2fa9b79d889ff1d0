"""What other libraries' models and layers have, for the errors of missing attributes and wrong arguments."""

ELSEWHERE = {  # what to use here instead; first of PyTorch
    "add_module": "assign the layer: model[name] = layer, or layer.name = other",
    "register_module": "assign the layer: model[name] = layer, or layer.name = other",
    "register_parameter": "assign the parameter: self.name = xpconv.Parameter(array, 'name')",
    "register_buffer": "assign the array, and list its name in the class: buffer_names = ('name',)",
    "register_backward_hook": "use layer.register_full_backward_hook(hook)",
    "register_full_backward_pre_hook": "use layer.register_full_backward_hook(hook)",
    "buffers": "state_dict() has the buffers, by name",
    "named_buffers": "state_dict() has the buffers, by name",
    "cuda": "use layer.to('cupy')",
    "cpu": "use layer.to('numpy')",
    "float": "use layer.to(dtype='float32')",
    "double": "use layer.to(dtype='float64')",
    "half": "use layer.to(dtype='float16')",
    "bfloat16": "use layer.to(dtype='bfloat16')",
    "device": "xpconv.get_xp(parameter.data) is the module of a parameter's device",
    "dtype": "each parameter has its own: parameter.dtype",
    "step": "use optimizer.step()",
    # of Keras and scikit-learn
    **dict.fromkeys(
        ("fit", "compile", "fit_generator", "train_on_batch"),
        "use xpconv.train.fit(model, loss, optimizer, xpconv.data.batches(x, y, 64), epochs=…)",
    ),
    **dict.fromkeys(
        ("evaluate", "score"), "use xpconv.train.evaluate(model, loss, xpconv.data.batches(x, y, 64))"
    ),
    **dict.fromkeys(("predict", "predict_proba"), "use xpconv.train.predict(model, x)"),
    "save": "use xpconv.save_model(model, 'model.safetensors')",
    "load": "use xpconv.load_model('model.safetensors')",
    **dict.fromkeys(("save_weights", "get_weights"), "use state_dict(), which returns the weights by name"),
    "weights": "use layer.weight, or state_dict(), which returns all weights by name",
    **dict.fromkeys(("load_weights", "set_weights"), "use load_state_dict(state)"),
    "layers": "use children() or modules()",
    "get_layer": "use model[name]",
    "add": "use model.append(layer)",
    "trainable": "use layer.requires_grad_(False) to freeze",
    **dict.fromkeys(("trainable_variables", "trainable_weights"), "use parameters()"),
    # of the notebook, and of Keras' layers
    "kernel": "use layer.weight",
    "biases": "use layer.bias",
    **dict.fromkeys(("grad_weights", "grad_kernel"), "use layer.weight.grad"),
    **dict.fromkeys(("grad_bias", "grad_biases"), "use layer.bias.grad"),
    "count_params": "use summary(input_shape), or sum(p.size for p in model.parameters())",
}

ARGUMENTS = {  # of Keras' layers, and what to give here instead
    "activation": "put the activation after it: xpconv.Sequential(layer, xpconv.ReLU())",
    "units": "give in_features and out_features, as Dense(64, 10), or out_features alone to LazyLinear",
    "filters": "give in_channels and out_channels, as Conv2d(3, 8, 3), or out_channels alone to LazyConv2d",
    **dict.fromkeys(
        ("input_shape", "input_dim", "batch_input_shape"),
        "give the number of input channels or features first, as Conv2d(3, 8, 3)",
    ),
    "strides": "give stride=",
    "pool_size": "give kernel_size=",
    "dilation_rate": "give dilation=",
    "use_bias": "give bias=",
    "rate": "give p=",
    "epsilon": "give eps=",
    "data_format": "images are (N, C, H, W)",
    **dict.fromkeys(
        ("kernel_initializer", "bias_initializer"), "use xpconv.init on layer.weight and layer.bias"
    ),
    **dict.fromkeys(("kernel_regularizer", "bias_regularizer"), "give weight_decay= to the optimizer"),
    "device": "use layer.to('cupy')",
    "name": "names are those of the attributes, or Sequential({'name': layer})",
}
