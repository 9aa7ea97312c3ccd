/* safetensors files and the config.json beside them: the input is the length of config.json (2 bytes), config.json, and
 * the tensors. */
#include <assert.h>
#include <stdlib.h>

#include "fuzz.h"
#include "fuzz_foreign.h"
#include "train/hub_config.h"
#include "train/safetensors.h"

static void load_tensors(const char *path)
{
    float a[6], b[4];
    const vt_stored_tensor wanted[] = {
        {.name = "a", .dtype = VT_DTYPE_F32, .n_dims = 2, .dims = {2, 3}, .count = 6, .data = a},
        {.name = "b", .dtype = VT_DTYPE_BF16, .n_dims = 1, .dims = {4}, .count = 4, .data = b},
    };
    vt_device device; /* without regions: what is written is host memory */
    vt_err err = {0};
    vt_device_init(&device);
    if (vt_safetensors_load(path, &device, wanted, 2, &err) != VT_OK)
        assert(err.msg[0]);
}

static void load_config(const char *path)
{
    vt_checkpoint_info info;
    vt_err err = {0};
    if (vt_hub_config_load(path, &info, &err) == VT_OK)
        assert(info.model.width >= 1 && info.model.depth >= 1 && info.class_names[info.model.classes - 1]);
    else
        assert(err.msg[0]);
    vt_checkpoint_info_release(&info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t config = (size_t)data[0] << 8 | data[1];
    data += 2, size -= 2;
    config = config < size ? config : size;
    load_config(fuzz_file(0, data, config, ".json"));
    const char *tensors = fuzz_file(1, data + config, size - config, ".safetensors");
    load_tensors(tensors);
    fuzz_foreign(tensors);
    return 0;
}
