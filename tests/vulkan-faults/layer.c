// A Vulkan layer between the loader and a driver that works, which makes the driver misbehave. README.md has the words.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

// The words

// Whether a word stands in the file that VULKAN_FAULTS names. Read at each call, so that faults come and go while the
// process runs. `value` gets what stands behind the word's "=".
static int has_word(const char *word, char *value, size_t size) {
    const char *path = getenv("VULKAN_FAULTS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return 0;
    char found[128];
    int is_there = 0;
    size_t length = strlen(word);
    while (!is_there && fscanf(file, "%127s", found) == 1) {
        if (strncmp(found, word, length))
            continue;
        is_there = found[length] == '\0' || (value && found[length] == '=');
        if (is_there && value)
            snprintf(value, size, "%s", found[length] ? found + length + 1 : "");
    }
    fclose(file);
    return is_there;
}

// Whether the word `point:action` is there, or `point:action@first` for a call on the first device.
static int is_told(const char *point, const char *action, int is_first) {
    char word[128];
    snprintf(word, sizeof word, "%s:%s", point, action);
    if (has_word(word, NULL, 0))
        return 1;
    strncat(word, "@first", sizeof word - strlen(word) - 1);
    return is_first && has_word(word, NULL, 0);
}

// Does what the words say of a call. Returns the error that the call must return, or VK_SUCCESS if it may go on.
static VkResult misbehave(const char *point, int is_first) {
    while (is_told(point, "block", is_first))
        usleep(20 * 1000);
    if (is_told(point, "crash", is_first))
        *(volatile int *)NULL = 0;
    if (is_told(point, "abort", is_first))
        abort();
    if (is_told(point, "fail", is_first))
        return VK_ERROR_INITIALIZATION_FAILED;
    if (is_told(point, "lost", is_first))
        return VK_ERROR_DEVICE_LOST;
    if (is_told(point, "oom", is_first))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    return VK_SUCCESS;
}

// What is below this layer

// Functions of an instance that this layer hooks. Resolved when the instance is created: later the loader would return
// those of this layer.
#define INSTANCE_FUNCTIONS(each)                                                                                      \
    each(EnumeratePhysicalDevices) each(GetPhysicalDeviceProperties) each(GetPhysicalDeviceProperties2)               \
        each(GetPhysicalDeviceProperties2KHR) each(EnumerateDeviceExtensionProperties)

#define DECLARE(name) PFN_vk##name name;

// An instance or a device. Handles that belong to it begin with the same pointer, its key.
struct Below {
    void *key;
    VkInstance instance;
    PFN_vkGetInstanceProcAddr of_instance;
    INSTANCE_FUNCTIONS(DECLARE)
    VkPhysicalDevice first;
    VkDevice device;
    PFN_vkGetDeviceProcAddr of_device;
    int is_first;
    struct Below *next;
};

static struct Below *all_below;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *key_of(const void *handle) { return *(void *const *)handle; }

static void add_below(struct Below below) {
    struct Below *added = malloc(sizeof *added);
    *added = below;
    pthread_mutex_lock(&lock);
    added->next = all_below;
    all_below = added;
    pthread_mutex_unlock(&lock);
}

// The latest with this handle's key. None is ever freed: a test's process is short.
static struct Below *below(const void *handle) {
    pthread_mutex_lock(&lock);
    struct Below *found = all_below;
    while (found && found->key != key_of(handle))
        found = found->next;
    pthread_mutex_unlock(&lock);
    if (!found)
        abort();
    return found;
}

static PFN_vkVoidFunction next_function(const void *handle, const char *name) {
    struct Below *of = below(handle);
    return of->of_device(of->device, name);
}

// The next function of a device.
#define NEXT(handle, name) ((PFN_vk##name)next_function(handle, "vk" #name))

// Instances and devices

static const void *link_info(const void *chain, VkStructureType type) {
    const VkBaseInStructure *info = chain;
    while (info && !(info->sType == type && ((const VkLayerInstanceCreateInfo *)info)->function == VK_LAYER_LINK_INFO))
        info = info->pNext;
    return info;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo *create,
                                                     const VkAllocationCallbacks *allocator, VkInstance *instance) {
    VkResult result = misbehave("instance", 0);
    if (result != VK_SUCCESS)
        return result;
    VkLayerInstanceCreateInfo *info =
        (VkLayerInstanceCreateInfo *)link_info(create->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    PFN_vkGetInstanceProcAddr of_instance = info->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    info->u.pLayerInfo = info->u.pLayerInfo->pNext;
    result = ((PFN_vkCreateInstance)of_instance(NULL, "vkCreateInstance"))(create, allocator, instance);
    if (result != VK_SUCCESS)
        return result;
    struct Below below = {.key = key_of(*instance), .instance = *instance, .of_instance = of_instance};
#define RESOLVE(name) below.name = (PFN_vk##name)of_instance(*instance, "vk" #name);
    INSTANCE_FUNCTIONS(RESOLVE)
    if (!below.GetPhysicalDeviceProperties2)
        below.GetPhysicalDeviceProperties2 = below.GetPhysicalDeviceProperties2KHR;
    add_below(below);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance instance, uint32_t *count,
                                                               VkPhysicalDevice *devices) {
    VkResult result = misbehave("list", 0);
    if (result != VK_SUCCESS)
        return result;
    if (is_told("list", "none", 0)) {
        *count = 0;
        return VK_SUCCESS;
    }
    result = below(instance)->EnumeratePhysicalDevices(instance, count, devices);
    if (devices && *count > 0 && !below(instance)->first)
        below(instance)->first = devices[0];
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *create,
                                                   const VkAllocationCallbacks *allocator, VkDevice *device) {
    struct Below *of = below(physical);
    int is_first = physical == of->first;
    VkResult result = misbehave("device", is_first);
    if (result != VK_SUCCESS)
        return result;
    VkLayerDeviceCreateInfo *info =
        (VkLayerDeviceCreateInfo *)link_info(create->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    PFN_vkGetInstanceProcAddr of_instance = info->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    PFN_vkGetDeviceProcAddr of_device = info->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    info->u.pLayerInfo = info->u.pLayerInfo->pNext;
    PFN_vkCreateDevice next = (PFN_vkCreateDevice)of_instance(of->instance, "vkCreateDevice");
    result = next(physical, create, allocator, device);
    if (result == VK_SUCCESS)
        add_below((struct Below){
            .key = key_of(*device), .device = *device, .of_device = of_device, .is_first = is_first});
    return result;
}

static VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice device, const VkAllocationCallbacks *allocator) {
    if (!device)
        return;
    misbehave("destroy", below(device)->is_first);
    NEXT(device, DestroyDevice)(device, allocator);
}

// What a device says of itself

static void lie(VkPhysicalDeviceProperties *properties) {
    char value[128];
    if (has_word("card", NULL, 0))
        properties->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    if (has_word("name", value, sizeof value))
        snprintf(properties->deviceName, sizeof properties->deviceName, "%s", value);
    if (has_word("tick", value, sizeof value))
        properties->limits.timestampPeriod = strtof(value, NULL);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties(VkPhysicalDevice device,
                                                              VkPhysicalDeviceProperties *properties) {
    below(device)->GetPhysicalDeviceProperties(device, properties);
    lie(properties);
}

static void lie_in_chain(VkPhysicalDeviceProperties2 *properties) {
    char value[128];
    lie(&properties->properties);
    for (VkBaseOutStructure *more = properties->pNext; more; more = more->pNext) {
        VkPhysicalDevicePCIBusInfoPropertiesEXT *pci = (void *)more;
        if (more->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT &&
            has_word("bus", value, sizeof value)) {
            pci->pciDomain = pci->pciDevice = pci->pciFunction = 0;
            pci->pciBus = (uint32_t)strtoul(value, NULL, 16);
        }
        if (!has_word("nonconformant", NULL, 0))
            continue;
        VkConformanceVersion none = {0, 0, 0, 0};
        if (more->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES)
            ((VkPhysicalDeviceDriverProperties *)more)->conformanceVersion = none;
        if (more->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES)
            ((VkPhysicalDeviceVulkan12Properties *)more)->conformanceVersion = none;
    }
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(VkPhysicalDevice device,
                                                               VkPhysicalDeviceProperties2 *properties) {
    below(device)->GetPhysicalDeviceProperties2(device, properties);
    lie_in_chain(properties);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2KHR(VkPhysicalDevice device,
                                                                  VkPhysicalDeviceProperties2 *properties) {
    GetPhysicalDeviceProperties2(device, properties);
}

// A device has a bus only if it also says that it can tell.
static VKAPI_ATTR VkResult VKAPI_CALL EnumerateDeviceExtensionProperties(VkPhysicalDevice device, const char *layer,
                                                                         uint32_t *count,
                                                                         VkExtensionProperties *extensions) {
    char value[128];
    PFN_vkEnumerateDeviceExtensionProperties next = below(device)->EnumerateDeviceExtensionProperties;
    if (layer || !has_word("bus", value, sizeof value))
        return next(device, layer, count, extensions);
    uint32_t total = 0;
    VkResult result = next(device, NULL, &total, NULL);
    if (result != VK_SUCCESS)
        return result;
    VkExtensionProperties *all = calloc(total + 1, sizeof *all);
    result = next(device, NULL, &total, all);
    snprintf(all[total].extensionName, sizeof all[total].extensionName, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    all[total++].specVersion = VK_EXT_PCI_BUS_INFO_SPEC_VERSION;
    if (!extensions) {
        *count = total;
    } else {
        uint32_t fits = *count < total ? *count : total;
        memcpy(extensions, all, fits * sizeof *all);
        result = fits < total ? VK_INCOMPLETE : result;
        *count = fits;
    }
    free(all);
    return result;
}

// Work

static VKAPI_ATTR VkResult VKAPI_CALL CreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                             const VkComputePipelineCreateInfo *create,
                                                             const VkAllocationCallbacks *allocator,
                                                             VkPipeline *pipelines) {
    char value[128];
    if (has_word("compile:seconds", value, sizeof value))
        sleep((unsigned)atoi(value));
    // One kernel of the card, whichever comes first.
    static int comers;
    int is_first_comer = __atomic_fetch_add(&comers, 1, __ATOMIC_RELAXED) == 0;
    while (is_first_comer && has_word("compile:block-one", NULL, 0))
        usleep(20 * 1000);
    VkResult result = misbehave("compile", below(device)->is_first);
    if (result != VK_SUCCESS)
        return result;
    return NEXT(device, CreateComputePipelines)(device, cache, count, create, allocator, pipelines);
}

static VKAPI_ATTR void VKAPI_CALL CmdDispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    // Workgroups get lost, as if a driver had dropped them.
    if (is_told("dispatch", "half", below(commands)->is_first))
        x = (x + 1) / 2;
    if (is_told("dispatch", "none", below(commands)->is_first))
        x = 0;
    NEXT(commands, CmdDispatch)(commands, x, y, z);
}

static VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits,
                                                  VkFence fence) {
    VkResult result = misbehave("submit", below(queue)->is_first);
    return result == VK_SUCCESS ? NEXT(queue, QueueSubmit)(queue, count, submits, fence) : result;
}

// A wait that ends by its timeout although the work is done.
static int is_timed_out(VkDevice device, uint64_t nanoseconds) {
    if (!is_told("wait", "timeout", below(device)->is_first))
        return 0;
    uint64_t most = 20ull * 1000 * 1000;
    usleep((useconds_t)((nanoseconds / 1000 < most ? nanoseconds / 1000 : most)));
    return 1;
}

static VKAPI_ATTR VkResult VKAPI_CALL WaitForFences(VkDevice device, uint32_t count, const VkFence *fences,
                                                    VkBool32 all, uint64_t timeout) {
    VkResult result = misbehave("wait", below(device)->is_first);
    if (result != VK_SUCCESS)
        return result;
    if (is_timed_out(device, timeout))
        return VK_TIMEOUT;
    return NEXT(device, WaitForFences)(device, count, fences, all, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL WaitSemaphores(VkDevice device, const VkSemaphoreWaitInfo *wait,
                                                     uint64_t timeout) {
    VkResult result = misbehave("wait", below(device)->is_first);
    if (result != VK_SUCCESS)
        return result;
    if (is_timed_out(device, timeout))
        return VK_TIMEOUT;
    PFN_vkWaitSemaphores next = NEXT(device, WaitSemaphores);
    return (next ? next : NEXT(device, WaitSemaphoresKHR))(device, wait, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL GetSemaphoreCounterValue(VkDevice device, VkSemaphore semaphore,
                                                               uint64_t *value) {
    int is_first = below(device)->is_first;
    if (is_told("wait", "lost", is_first))
        return VK_ERROR_DEVICE_LOST;
    if (is_told("wait", "timeout", is_first)) {
        *value = 0;
        return VK_SUCCESS;
    }
    PFN_vkGetSemaphoreCounterValue next = NEXT(device, GetSemaphoreCounterValue);
    return (next ? next : NEXT(device, GetSemaphoreCounterValueKHR))(device, semaphore, value);
}

static VKAPI_ATTR VkResult VKAPI_CALL DeviceWaitIdle(VkDevice device) {
    VkResult result = misbehave("wait", below(device)->is_first);
    return result == VK_SUCCESS ? NEXT(device, DeviceWaitIdle)(device) : result;
}

// A clock that lies: "ticks=BEGIN,END" are the times of every dispatch.
static VKAPI_ATTR void VKAPI_CALL CmdCopyQueryPoolResults(VkCommandBuffer commands, VkQueryPool pool, uint32_t first,
                                                          uint32_t count, VkBuffer buffer, VkDeviceSize offset,
                                                          VkDeviceSize stride, VkQueryResultFlags flags) {
    char value[128];
    if (count == 2 && has_word("ticks", value, sizeof value)) {
        char *end = value;
        uint64_t ticks[2] = {strtoull(value, &end, 0), 0};
        ticks[1] = *end == ',' ? strtoull(end + 1, NULL, 0) : ticks[0];
        NEXT(commands, CmdUpdateBuffer)(commands, buffer, offset, sizeof ticks, ticks);
        return;
    }
    NEXT(commands, CmdCopyQueryPoolResults)(commands, pool, first, count, buffer, offset, stride, flags);
}

// The functions of this layer

static PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance, const char *name);
static PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char *name);

struct Hook {
    const char *name;
    PFN_vkVoidFunction function;
};

#define HOOK(name) {"vk" #name, (PFN_vkVoidFunction)name}

static const struct Hook of_instances[] = {
    HOOK(GetInstanceProcAddr),
    HOOK(CreateInstance),
    HOOK(EnumeratePhysicalDevices),
    HOOK(GetPhysicalDeviceProperties),
    HOOK(GetPhysicalDeviceProperties2),
    HOOK(GetPhysicalDeviceProperties2KHR),
    HOOK(EnumerateDeviceExtensionProperties),
    HOOK(CreateDevice),
    {NULL, NULL},
};

static const struct Hook of_devices[] = {
    HOOK(GetDeviceProcAddr),
    HOOK(DestroyDevice),
    HOOK(CreateComputePipelines),
    HOOK(CmdDispatch),
    HOOK(QueueSubmit),
    HOOK(WaitForFences),
    HOOK(WaitSemaphores),
    {"vkWaitSemaphoresKHR", (PFN_vkVoidFunction)WaitSemaphores},
    HOOK(GetSemaphoreCounterValue),
    {"vkGetSemaphoreCounterValueKHR", (PFN_vkVoidFunction)GetSemaphoreCounterValue},
    HOOK(DeviceWaitIdle),
    HOOK(CmdCopyQueryPoolResults),
    {NULL, NULL},
};

static PFN_vkVoidFunction hook(const struct Hook *hooks, const char *name) {
    for (; hooks->name; hooks++)
        if (!strcmp(hooks->name, name))
            return hooks->function;
    return NULL;
}

static PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = hook(of_devices, name);
    return function ? function : next_function(device, name);
}

static PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = hook(of_instances, name);
    if (!function)
        function = hook(of_devices, name);
    if (function || !instance)
        return function;
    struct Below *of = below(instance);
    return of->of_instance(of->instance, name);
}

__attribute__((visibility("default"))) VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
    version->loaderLayerInterfaceVersion = 2;
    version->pfnGetInstanceProcAddr = GetInstanceProcAddr;
    version->pfnGetDeviceProcAddr = GetDeviceProcAddr;
    version->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
